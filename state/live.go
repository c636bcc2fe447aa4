package state

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// A bot may change what Get has returned, if it is a pointer, a map or a slice, and
// call no Set:
//
//	profile, _, err := profiles.Get(ctx) // a *Profile
//	profile.Name = "Ada"
//
// The change is saved all the same, because it is in the official SDKs. A bot that is
// carried over from JavaScript would lose its users' data otherwise, and no error
// would say so. The price is that each save encodes again what was handed out, and
// compares.

// A liveValue is a value that was handed out and that the bot may have changed since.
type liveValue struct {
	name  string
	value any

	// stored is what value was decoded from. Encoded is value as it was compared
	// last, nil before the first comparison: encoding it at once would cost each Get.
	stored  json.RawMessage
	encoded json.RawMessage
	recode  recodeFunc // for the type of value

	// outdated is set when a Save had to merge and the document has got another value,
	// which somebody else had a part in. Get returns that one from then on. If the
	// bot changes the old one all the same, the save fails with ErrConflict.
	outdated bool
}

// A recodeFunc decodes a stored value and encodes it again.
type recodeFunc func(stored json.RawMessage) (json.RawMessage, error)

// flush puts the values that the bot has changed into the document. The caller holds
// e.mu.
func (e *entry) flush() error {
	for _, l := range e.live {
		if err := e.flushValue(l); err != nil {
			return err
		}
	}
	return nil
}

// flushValue puts a value into the document if the bot has changed it. The caller
// holds e.mu.
func (e *entry) flushValue(l *liveValue) error {
	if raw, ok := l.value.(json.RawMessage); ok && (bytes.Equal(raw, l.encoded) || l.encoded == nil && bytes.Equal(raw, l.stored)) {
		return nil // encoding it would take as long as all the rest
	}
	encoded, err := marshal(l.value)
	if err != nil {
		return fmt.Errorf("property %q: %w", l.name, err)
	}
	if l.encoded == nil {
		// This is the first comparison. Another SDK may have spelled the same value in
		// another way, such as 1.0 for 1. So if the spellings differ, what was stored is
		// decoded and encoded again: that is how the value looks if nobody has changed it.
		l.encoded = encoded
		if !sameJSON(encoded, l.stored) {
			if l.encoded, err = l.recode(l.stored); err != nil {
				return fmt.Errorf("property %q: %w", l.name, err)
			}
		}
	}
	if bytes.Equal(encoded, l.encoded) {
		return nil
	}
	if l.outdated {
		return fmt.Errorf("%w: property %q changed on both sides", ErrConflict, l.name)
	}
	l.encoded = encoded
	e.doc.Set(l.name, encoded)
	return nil
}
