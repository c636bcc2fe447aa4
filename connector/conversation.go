package connector

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/internal/wire"
)

// GetConversationMembers returns who takes part in the conversation of ref. It
// repeats requests and fails like [Adapter.SendActivity]. An answer of more than
// 4 MiB is an error.
func (a *Adapter) GetConversationMembers(ctx context.Context, ref schema.ConversationReference) ([]schema.ChannelAccount, error) {
	if ref.Conversation.ID == "" {
		return nil, errNoConversation
	}
	u, err := a.resource(ref.ServiceURL, ref.Conversation.ID, "members")
	if err != nil {
		return nil, err
	}
	answer, err := a.do(ctx, http.MethodGet, u, ref.Conversation.ID, nil)
	if err != nil {
		return nil, err
	}
	var members []schema.ChannelAccount
	if err := json.Unmarshal(answer, &members); err != nil {
		return nil, fmt.Errorf("connector: GET to %s: the answer is no list of members", u.Host)
	}
	return members, nil
}

// CreateConversation begins a conversation on the channel at serviceURL and
// returns its id and that of the activity in it, if parameters have one. It
// repeats requests and fails like [Adapter.SendActivity].
func (a *Adapter) CreateConversation(ctx context.Context, serviceURL string, parameters schema.ConversationParameters) (schema.ConversationResourceResponse, error) {
	var created schema.ConversationResourceResponse
	u, err := a.resource(serviceURL)
	if err != nil {
		return created, err
	}
	body, err := encodeParameters(&parameters)
	if err != nil {
		return created, fmt.Errorf("connector: encode the conversation: %w", err)
	}
	answer, err := a.do(ctx, http.MethodPost, u, "", body)
	if err != nil {
		return created, err
	}
	if err := json.Unmarshal(answer, &created); err != nil || created.ID == "" {
		return created, fmt.Errorf("connector: POST to %s: the answer has no conversation", u.Host)
	}
	return created, nil
}

func encodeParameters(p *schema.ConversationParameters) ([]byte, error) {
	var act json.RawMessage
	if !wire.IsZero(&p.Activity) {
		var err error
		if act, err = wire.Encode(&p.Activity); err != nil {
			return nil, err
		}
	}
	return json.Marshal(struct {
		IsGroup     bool                    `json:"isGroup"`
		Bot         schema.ChannelAccount   `json:"bot,omitzero"`
		Members     []schema.ChannelAccount `json:"members,omitempty"`
		TopicName   string                  `json:"topicName,omitempty"`
		TenantID    string                  `json:"tenantId,omitempty"`
		Activity    json.RawMessage         `json:"activity,omitempty"`
		ChannelData map[string]any          `json:"channelData,omitempty"`
	}{p.IsGroup, p.Bot, p.Members, p.TopicName, p.TenantID, act, p.ChannelData})
}
