package middleware

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/botlapse/botlapse/policy"
)

// decodeRecord reads a record from what is stored: the time of the last user input,
// and the rest. What cannot be used counts as not there, and is the error.
func decodeRecord(values []json.RawMessage) (r policy.Record, err error) {
	if values[1] != nil {
		r, err = unmarshalRecord(values[1])
	}
	if values[0] != nil {
		var last lastAccessed
		if e := last.UnmarshalJSON(values[0]); e != nil {
			err = errors.Join(err, fmt.Errorf("last user input: %w", e))
		}
		r.Input = last.Time
	}
	return r, err
}

// unmarshalRecord stands alone because its record is on the heap.
func unmarshalRecord(data json.RawMessage) (r policy.Record, err error) {
	if err := json.Unmarshal(data, &r); err != nil {
		return policy.Record{}, fmt.Errorf("%s: %w", recordProperty, err)
	}
	return r, nil
}

// encodeRecord puts r in the place of what is stored. What has not changed stays as
// whoever has written it spelled it.
func encodeRecord(values []json.RawMessage, r, stored policy.Record) (err error) {
	if !r.Input.Equal(stored.Input) {
		if values[0], err = (lastAccessed{r.Input}).MarshalJSON(); err != nil {
			return err
		}
	}
	encoded, err := json.Marshal(r)
	if err != nil {
		return err
	}
	values[1] = encoded
	if string(encoded) == "{}" {
		values[1] = nil
	}
	return nil
}
