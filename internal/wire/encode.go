package wire

import (
	"bytes"
	"encoding/json"
	"sync"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"
)

// Encode returns the JSON of an activity as channels want it. Empty fields and
// zero times are left out, since some channels refuse a null or "" where they
// expect a value. Times are written as RFC 3339, to the digits that they have,
// and in UTC but for localTimestamp, which keeps its zone. Characters special
// to HTML stay as they are. The content of attachments is encoded as it is.
func Encode(a *schema.Activity) ([]byte, error) {
	s := scratches.Get().(*scratch)
	defer s.free()
	s.outer.Activity = *a
	outgoing(&s.outer)
	enc := json.NewEncoder(&s.text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(&s.outer); err != nil {
		return nil, err
	}
	return bytes.Clone(bytes.TrimSuffix(s.text.Bytes(), []byte("\n"))), nil
}

// A scratch is the memory that one call of Encode works in. An activity is
// large: without scratches, much of the garbage of a turn would be these.
type scratch struct {
	outer activity
	text  bytes.Buffer
}

// maxScratch is the largest text for which memory is kept, in bytes.
const maxScratch = 16 << 10

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// free keeps the memory of s for another call.
func (s *scratch) free() {
	if s.text.Cap() > maxScratch {
		return
	}
	s.outer = activity{}
	s.text.Reset()
	scratches.Put(s)
}

// An activity is schema.Activity on the wire. Its own fields take the place of
// those embedded fields of the same name that cannot say what is on the wire,
// or that would be written when they are empty.
type activity struct {
	schema.Activity
	Timestamp        time.Time                  `json:"timestamp,omitzero"`
	LocalTimestamp   time.Time                  `json:"localTimestamp,omitzero"`
	From             schema.ChannelAccount      `json:"from,omitzero"`
	Conversation     schema.ConversationAccount `json:"conversation,omitzero"`
	Recipient        schema.ChannelAccount      `json:"recipient,omitzero"`
	SuggestedActions suggestedActions           `json:"suggestedActions,omitzero"`
	ChannelData      any                        `json:"channelData,omitzero"`
	Value            any                        `json:"value,omitzero"`
	RelatesTo        reference                  `json:"relatesTo,omitzero"`
	Expiration       time.Time                  `json:"expiration,omitzero"`
	SemanticAction   semanticAction             `json:"semanticAction,omitzero"`
}

type suggestedActions struct {
	To      []string     `json:"to,omitempty"`
	Actions []cardAction `json:"actions,omitempty"`
}

func (s suggestedActions) IsZero() bool { return len(s.To) == 0 && len(s.Actions) == 0 }

// A cardAction is schema.CardAction on the wire.
type cardAction struct {
	schema.CardAction
	Value       any `json:"value,omitzero"`
	ChannelData any `json:"channelData,omitzero"`
}

// A reference is schema.ConversationReference without its empty parts.
type reference struct {
	ActivityID   string                     `json:"activityId,omitempty"`
	User         schema.ChannelAccount      `json:"user,omitzero"`
	Bot          schema.ChannelAccount      `json:"bot,omitzero"`
	Conversation schema.ConversationAccount `json:"conversation,omitzero"`
	ChannelID    string                     `json:"channelId,omitempty"`
	ServiceURL   string                     `json:"serviceUrl,omitempty"`
}

type semanticAction schema.SemanticAction

func (s semanticAction) IsZero() bool { return s.State == "" && s.ID == "" && len(s.Entities) == 0 }

// outgoing sets the own fields of a from the embedded ones.
func outgoing(a *activity) {
	a.Timestamp = a.Activity.Timestamp.UTC()
	a.LocalTimestamp = a.Activity.LocalTimestamp
	a.From = a.Activity.From
	a.Conversation = a.Activity.Conversation
	a.Recipient = a.Activity.Recipient
	a.SuggestedActions.To = a.Activity.SuggestedActions.To
	for _, c := range a.Activity.SuggestedActions.Actions {
		a.SuggestedActions.Actions = append(a.SuggestedActions.Actions, cardAction{c, valueOf(c.Value), valueOf(c.ChannelData)})
	}
	a.ChannelData = valueOf(a.Activity.ChannelData)
	a.Value = valueOf(a.Activity.Value)
	a.RelatesTo = reference(a.Activity.RelatesTo)
	a.Expiration = a.Activity.Expiration.UTC()
	a.SemanticAction = semanticAction(a.Activity.SemanticAction)
}

// valueOf returns the value that m stands for, nil if for none: see the
// package comment.
func valueOf(m map[string]any) any {
	if v, alone := m[""]; alone && len(m) == 1 {
		return v
	}
	if m == nil {
		return nil // and not a map that is nil
	}
	return m
}
