package wire

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"
)

// Encode returns the JSON of an activity as channels want it: empty fields and
// zero times are left out, since some channels refuse a null or "" where they
// expect a value, and characters special to HTML stay as they are.
func Encode(a schema.Activity) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(outgoing(&a)); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// An activity is schema.Activity with other types where its own cannot say
// what is on the wire, and tags that leave out what is empty.
type activity struct {
	Type             schema.ActivityTypes          `json:"type,omitempty"`
	ID               string                        `json:"id,omitempty"`
	Timestamp        moment                        `json:"timestamp,omitzero"`
	LocalTimestamp   moment                        `json:"localTimestamp,omitzero"`
	LocalTimezone    string                        `json:"localTimezone,omitempty"`
	CallerID         string                        `json:"callerId,omitempty"`
	ServiceURL       string                        `json:"serviceUrl,omitempty"`
	ChannelID        string                        `json:"channelId,omitempty"`
	From             schema.ChannelAccount         `json:"from,omitzero"`
	Conversation     schema.ConversationAccount    `json:"conversation,omitzero"`
	Recipient        schema.ChannelAccount         `json:"recipient,omitzero"`
	TextFormat       schema.TextFormatTypes        `json:"textFormat,omitempty"`
	AttachmentLayout schema.AttachmentLayoutTypes  `json:"attachmentLayout,omitempty"`
	MembersAdded     []schema.ChannelAccount       `json:"membersAdded,omitempty"`
	MembersRemoved   []schema.ChannelAccount       `json:"membersRemoved,omitempty"`
	ReactionsAdded   []schema.MessageReaction      `json:"reactionsAdded,omitempty"`
	ReactionsRemoved []schema.MessageReaction      `json:"reactionsRemoved,omitempty"`
	TopicName        string                        `json:"topicName,omitempty"`
	HistoryDisclosed bool                          `json:"historyDisclosed,omitempty"`
	Locale           string                        `json:"locale,omitempty"`
	Text             string                        `json:"text,omitempty"`
	Speak            string                        `json:"speak,omitempty"`
	InputHint        schema.InputHints             `json:"inputHint,omitempty"`
	Summary          string                        `json:"summary,omitempty"`
	SuggestedActions suggestedActions              `json:"suggestedActions,omitzero"`
	Attachments      []schema.Attachment           `json:"attachments,omitempty"`
	Entities         []schema.Entity               `json:"entities,omitempty"`
	ChannelData      value                         `json:"channelData,omitzero"`
	Action           string                        `json:"action,omitempty"`
	ReplyToID        string                        `json:"replyToId,omitempty"`
	Label            string                        `json:"label,omitempty"`
	ValueType        string                        `json:"valueType,omitempty"`
	Value            value                         `json:"value,omitzero"`
	Name             string                        `json:"name,omitempty"`
	RelatesTo        reference                     `json:"relatesTo,omitzero"`
	Code             schema.EndOfConversationCodes `json:"code,omitempty"`
	Expiration       moment                        `json:"expiration,omitzero"`
	Importance       schema.ActivityImportance     `json:"importance,omitempty"`
	DeliveryMode     schema.DeliveryModes          `json:"deliveryMode,omitempty"`
	ListenFor        []string                      `json:"listenFor,omitempty"`
	TextHighlights   []schema.TextHighlight        `json:"textHighlights,omitempty"`
	SemanticAction   semanticAction                `json:"semanticAction,omitzero"`
}

type suggestedActions struct {
	To      []string     `json:"to,omitempty"`
	Actions []cardAction `json:"actions,omitempty"`
}

func (s suggestedActions) IsZero() bool { return len(s.To) == 0 && len(s.Actions) == 0 }

type cardAction struct {
	Type        schema.ActionTypes `json:"type,omitempty"`
	Title       string             `json:"title,omitempty"`
	Image       string             `json:"image,omitempty"`
	Text        string             `json:"text,omitempty"`
	DisplayText string             `json:"displayText,omitempty"`
	Value       value              `json:"value,omitzero"`
	ChannelData value              `json:"channelData,omitzero"`
}

type semanticAction schema.SemanticAction

func (s semanticAction) IsZero() bool { return s.State == "" && s.ID == "" && len(s.Entities) == 0 }

type reference struct {
	ActivityID   string                     `json:"activityId,omitempty"`
	User         schema.ChannelAccount      `json:"user,omitzero"`
	Bot          schema.ChannelAccount      `json:"bot,omitzero"`
	Conversation schema.ConversationAccount `json:"conversation,omitzero"`
	ChannelID    string                     `json:"channelId,omitempty"`
	ServiceURL   string                     `json:"serviceUrl,omitempty"`
}

// A value is JSON of any type, as a map: see the package comment.
type value map[string]any

// IsZero keeps an empty object, which is a value, apart from none.
func (v value) IsZero() bool { return v == nil }

func (v value) MarshalJSON() ([]byte, error) {
	if isAlone(v) {
		return marshal(v[""])
	}
	return marshal(map[string]any(v))
}

// isAlone reports whether v stands for the value under its empty key.
func isAlone(v value) bool {
	_, ok := v[""]
	return ok && len(v) == 1
}

func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return buf.Bytes(), err
}

// A moment is a time that may be spelled in other ways than RFC 3339.
type moment struct{ time.Time }
