package middleware

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// A lastAccessed is the time of the last user input, as it stands in the
// conversation state. Records keep instants in steps of 100 ns, because .NET reads
// no more than seven digits.
type lastAccessed struct{ time.Time }

// MarshalJSON writes RFC 3339 in UTC: .NET ignores other zones.
func (l lastAccessed) MarshalJSON() ([]byte, error) {
	return l.UTC().AppendFormat(make([]byte, 0, 40), `"`+time.RFC3339Nano+`"`), nil
}

// UnmarshalJSON reads what any of the SDKs has written: RFC 3339 with or
// without a zone (.NET, JavaScript; UTC if there is none), or a number of
// seconds since 1970 (Python).
func (l *lastAccessed) UnmarshalJSON(data []byte) error {
	text, quoted := strings.CutPrefix(string(data), `"`)
	switch {
	case !quoted:
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil || math.Abs(seconds) > 1e12 { // about the year 33658; more would overflow
			return errNoTime
		}
		sec, frac := math.Modf(seconds)
		l.Time = time.Unix(int64(sec), int64(frac*1e9)).UTC()
		return nil
	case strings.Contains(text, `\`):
		if json.Unmarshal(data, &text) != nil {
			return errNoTime
		}
	default:
		text = strings.TrimSuffix(text, `"`)
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00"} {
		if t, err := time.Parse(layout, text); err == nil {
			l.Time = t.UTC()
			return nil
		}
	}
	return errNoTime
}

var errNoTime = errors.New("neither RFC 3339 nor a number of seconds")
