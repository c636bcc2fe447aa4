package wire

import "github.com/infracloudio/msbotbuilder-go/schema"

// outgoing and incoming convert between schema.Activity and activity, field by
// field.

func outgoing(a *schema.Activity) *activity {
	return &activity{
		Type:             a.Type,
		ID:               a.ID,
		Timestamp:        moment{a.Timestamp},
		LocalTimestamp:   moment{a.LocalTimestamp},
		LocalTimezone:    a.LocalTimezone,
		CallerID:         a.CallerID,
		ServiceURL:       a.ServiceURL,
		ChannelID:        a.ChannelID,
		From:             a.From,
		Conversation:     a.Conversation,
		Recipient:        a.Recipient,
		TextFormat:       a.TextFormat,
		AttachmentLayout: a.AttachmentLayout,
		MembersAdded:     a.MembersAdded,
		MembersRemoved:   a.MembersRemoved,
		ReactionsAdded:   a.ReactionsAdded,
		ReactionsRemoved: a.ReactionsRemoved,
		TopicName:        a.TopicName,
		HistoryDisclosed: a.HistoryDisclosed,
		Locale:           a.Locale,
		Text:             a.Text,
		Speak:            a.Speak,
		InputHint:        a.InputHint,
		Summary:          a.Summary,
		SuggestedActions: suggestedActions{a.SuggestedActions.To, outgoingActions(a.SuggestedActions.Actions)},
		Attachments:      a.Attachments,
		Entities:         a.Entities,
		ChannelData:      a.ChannelData,
		Action:           a.Action,
		ReplyToID:        a.ReplyToID,
		Label:            a.Label,
		ValueType:        a.ValueType,
		Value:            a.Value,
		Name:             a.Name,
		RelatesTo:        reference(a.RelatesTo),
		Code:             a.Code,
		Expiration:       moment{a.Expiration},
		Importance:       a.Importance,
		DeliveryMode:     a.DeliveryMode,
		ListenFor:        a.ListenFor,
		TextHighlights:   a.TextHighlights,
		SemanticAction:   semanticAction(a.SemanticAction),
	}
}

func incoming(a *activity) schema.Activity {
	return schema.Activity{
		Type:             a.Type,
		ID:               a.ID,
		Timestamp:        a.Timestamp.Time,
		LocalTimestamp:   a.LocalTimestamp.Time,
		LocalTimezone:    a.LocalTimezone,
		CallerID:         a.CallerID,
		ServiceURL:       a.ServiceURL,
		ChannelID:        a.ChannelID,
		From:             a.From,
		Conversation:     a.Conversation,
		Recipient:        a.Recipient,
		TextFormat:       a.TextFormat,
		AttachmentLayout: a.AttachmentLayout,
		MembersAdded:     a.MembersAdded,
		MembersRemoved:   a.MembersRemoved,
		ReactionsAdded:   a.ReactionsAdded,
		ReactionsRemoved: a.ReactionsRemoved,
		TopicName:        a.TopicName,
		HistoryDisclosed: a.HistoryDisclosed,
		Locale:           a.Locale,
		Text:             a.Text,
		Speak:            a.Speak,
		InputHint:        a.InputHint,
		Summary:          a.Summary,
		SuggestedActions: schema.SuggestedActions{To: a.SuggestedActions.To, Actions: incomingActions(a.SuggestedActions.Actions)},
		Attachments:      a.Attachments,
		Entities:         a.Entities,
		ChannelData:      a.ChannelData,
		Action:           a.Action,
		ReplyToID:        a.ReplyToID,
		Label:            a.Label,
		ValueType:        a.ValueType,
		Value:            a.Value,
		Name:             a.Name,
		RelatesTo:        schema.ConversationReference(a.RelatesTo),
		Code:             a.Code,
		Expiration:       a.Expiration.Time,
		Importance:       a.Importance,
		DeliveryMode:     a.DeliveryMode,
		ListenFor:        a.ListenFor,
		TextHighlights:   a.TextHighlights,
		SemanticAction:   schema.SemanticAction(a.SemanticAction),
	}
}

func outgoingActions(actions []schema.CardAction) []cardAction {
	if actions == nil {
		return nil
	}
	out := make([]cardAction, len(actions))
	for i, c := range actions {
		out[i] = cardAction{c.Type, c.Title, c.Image, c.Text, c.DisplayText, c.Value, c.ChannelData}
	}
	return out
}

func incomingActions(actions []cardAction) []schema.CardAction {
	if actions == nil {
		return nil
	}
	in := make([]schema.CardAction, len(actions))
	for i, c := range actions {
		in[i] = schema.CardAction{Type: c.Type, Title: c.Title, Image: c.Image, Text: c.Text, DisplayText: c.DisplayText, Value: c.Value, ChannelData: c.ChannelData}
	}
	return in
}
