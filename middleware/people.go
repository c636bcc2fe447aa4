package middleware

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/policy"
)

// The events by which bots and hubs hand a conversation to a person and back, as
// Bot Framework has them; and that of AudioCodes for a caller who says nothing.
const (
	eventInitiate = "handoff.initiate"
	eventStatus   = "handoff.status"
	eventSilence  = "noUserInput"
)

// maxSenders is how many senders of messages are remembered, whose events are not
// those of a hub.
const maxSenders = 32

// isSilence reports whether an activity says that the channel's own clock has rung.
func isSilence(a *schema.Activity) bool { return a.Type == schema.Event && a.Name == eventSilence }

// usesPeople reports whether it matters to the policy who answers, and whether the
// conversation is resolved.
func (v *visit) usesPeople() bool {
	return !v.private && (v.rules.UsesBy() || v.rules.Uses(policy.Resolved))
}

// rememberSender notes who writes.
func (v *visit) rememberSender() {
	if !v.usesPeople() || v.turn.Activity.From.ID == "" {
		return
	}
	hash := senderHash(v.turn.Activity.From.ID)
	v.change(func(r policy.Record) policy.Record {
		senders := slices.DeleteFunc(slices.Clone(r.Senders), func(s string) bool { return s == hash })
		senders = append(senders, hash)
		r.Senders = senders[max(len(senders)-maxSenders, 0):]
		return r
	})
}

// senderHash returns what stands for a sender in records. It depends on nothing but
// the id, because records outlive secrets.
func senderHash(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:8])
}

// reported records what an activity that is no user input says about who answers:
// a status of a hub's, or that the conversation is over. A user of the conversation
// cannot say so, because what a channel lets users send is not a hub's.
func (v *visit) reported(found policy.Record) {
	a := &v.turn.Activity
	if v.turn.Proactive() || !v.usesPeople() || slices.Contains(found.Senders, senderHash(a.From.ID)) {
		return
	}
	now := v.now
	switch {
	case a.Type == schema.EndOfConversation:
		v.change(func(r policy.Record) policy.Record { return silent(r.Resolve(now)) })
	case a.Type == schema.Event && a.Name == eventStatus:
		state, _ := a.Value["state"].(string)
		to := map[string]string{"accepted": "agent", "failed": "bot", "completed": "bot"}[state]
		if to == "" {
			return
		}
		v.change(func(r policy.Record) policy.Record {
			r = r.HandOff(now, to)
			if state == "completed" && v.options.CompletedResolves {
				r = r.Resolve(now)
			}
			return silent(r)
		})
	}
}

// observe records that the bot has asked for a person.
func (v *visit) observe(a schema.Activity) {
	if a.Type == schema.Event && a.Name == eventInitiate && v.usesPeople() {
		now := v.now
		v.change(func(r policy.Record) policy.Record { return silent(r.HandOff(now, "nobody")) })
	}
}
