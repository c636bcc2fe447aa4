package middleware

import (
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// A lastAccessed is the time of the last user input, as it stands in the
// conversation state.
type lastAccessed struct{ time.Time }

// lastAccessedTick is the precision of times in .NET, which reads no more than
// seven digits.
const lastAccessedTick = 100 * time.Nanosecond

// at returns t rounded up to the tick, so that no conversation expires early.
func at(t time.Time) lastAccessed {
	t = t.UTC().Round(0)
	if cut := t.Truncate(lastAccessedTick); !cut.Equal(t) {
		t = cut.Add(lastAccessedTick)
	}
	return lastAccessed{t}
}

// MarshalJSON writes RFC 3339 in UTC: .NET ignores other zones.
func (l lastAccessed) MarshalJSON() ([]byte, error) {
	return json.Marshal(l.UTC())
}

// UnmarshalJSON reads what any of the SDKs has written: RFC 3339 with or
// without a zone (.NET, JavaScript; UTC if there is none), or a number of
// seconds since 1970 (Python).
func (l *lastAccessed) UnmarshalJSON(data []byte) error {
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case float64:
		if math.Abs(v) > 1e12 { // about the year 33658; more would overflow
			return fmt.Errorf("%v is no time in seconds", v)
		}
		sec, frac := math.Modf(v)
		l.Time = time.Unix(int64(sec), int64(frac*1e9)).UTC()
		return nil
	case string:
		var err error
		for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00"} {
			if l.Time, err = time.Parse(layout, v); err == nil {
				return nil
			}
		}
		return err
	}
	return fmt.Errorf("%T is no time", v)
}

// latest resolves two turns that both had user input.
func latest(mine, theirs lastAccessed) (lastAccessed, error) {
	if theirs.After(mine.Time) {
		return theirs, nil
	}
	return mine, nil
}
