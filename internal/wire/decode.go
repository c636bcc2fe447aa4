package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"
)

// Decode reads the JSON of an activity. It takes what channels send: values of
// any JSON type, null for anything, times in other forms (one that cannot be
// read is the zero time), missing and unknown fields. Numbers in values become
// float64. Its error is one line without anything of what the activity says.
func Decode(data []byte) (schema.Activity, error) {
	var in *activity
	err := json.Unmarshal(data, &in)
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.As(err, &mismatch) && mismatch.Field == "":
		return schema.Activity{}, fmt.Errorf("the activity is no JSON object but %s", article(mismatch.Value))
	case errors.As(err, &mismatch):
		return schema.Activity{}, fmt.Errorf("the activity's %s cannot be %s", mismatch.Field, article(mismatch.Value))
	case err != nil:
		return schema.Activity{}, errors.New("the activity is not JSON")
	case in == nil:
		return schema.Activity{}, errors.New("the activity is no JSON object but null")
	}
	return incoming(in), nil
}

// article puts an article before a JSON type as encoding/json names it, which
// for a number includes the number.
func article(jsonType string) string {
	if len(jsonType) > 6 && jsonType[:6] == "number" {
		jsonType = "number"
	}
	switch jsonType {
	case "array", "object":
		return "an " + jsonType
	}
	return "a " + jsonType
}

func (v *value) UnmarshalJSON(data []byte) error {
	var decoded any
	if err := json.Unmarshal(data, &decoded); err != nil {
		return err
	}
	switch decoded := decoded.(type) {
	case nil:
		*v = nil
	case map[string]any:
		if *v = decoded; isAlone(*v) {
			*v = value{"": decoded}
		}
	default:
		*v = value{"": decoded}
	}
	return nil
}

var layouts = []string{
	time.RFC3339,
	"2006-01-02T15:04:05",
	"2006-01-02T15:04:05Z0700",
	"2006-01-02 15:04:05Z07:00",
	"2006-01-02 15:04:05",
}

func (m *moment) UnmarshalJSON(data []byte) error {
	var text string
	m.Time = time.Time{}
	if json.Unmarshal(data, &text) != nil {
		return nil
	}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, text); err == nil {
			if y := t.UTC().Year(); y >= 1 && y <= 9999 { // others could not be written again
				m.Time = t
			}
			return nil
		}
	}
	return nil
}
