package wire

import "github.com/infracloudio/msbotbuilder-go/schema"

// IsZero reports whether a is the empty activity.
func IsZero(a *schema.Activity) bool { return a.Text == "" && IsText(a) }

// IsText reports whether a has nothing but text, or not even that. It spells
// out all fields: by reflection it would take as long as sending a.
func IsText(a *schema.Activity) bool {
	return a.Type == "" && a.ID == "" && a.Timestamp.IsZero() && a.LocalTimestamp.IsZero() && a.LocalTimezone == "" &&
		a.CallerID == "" && a.ServiceURL == "" && a.ChannelID == "" && a.From == (schema.ChannelAccount{}) &&
		a.Conversation == (schema.ConversationAccount{}) && a.Recipient == (schema.ChannelAccount{}) && a.TextFormat == "" &&
		a.AttachmentLayout == "" && a.MembersAdded == nil && a.MembersRemoved == nil && a.ReactionsAdded == nil &&
		a.ReactionsRemoved == nil && a.TopicName == "" && !a.HistoryDisclosed && a.Locale == "" && a.Speak == "" &&
		a.InputHint == "" && a.Summary == "" && a.SuggestedActions.To == nil && a.SuggestedActions.Actions == nil &&
		a.Attachments == nil && a.Entities == nil && a.ChannelData == nil && a.Action == "" && a.ReplyToID == "" &&
		a.Label == "" && a.ValueType == "" && a.Value == nil && a.Name == "" &&
		a.RelatesTo == (schema.ConversationReference{}) && a.Code == "" && a.Expiration.IsZero() && a.Importance == "" &&
		a.DeliveryMode == "" && a.ListenFor == nil && a.TextHighlights == nil &&
		a.SemanticAction.State == "" && a.SemanticAction.ID == "" && a.SemanticAction.Entities == nil
}
