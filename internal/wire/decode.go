package wire

import (
	"reflect"
	"strings"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/internal/object"
)

// Decode reads the JSON of an activity. It takes what channels send: values of
// any JSON type, null for anything, times in any common form of ISO 8601 (UTC
// if they name no zone; the zero time if they cannot be read), missing and
// unknown fields. Numbers in values become float64, as in encoding/json:
// integers beyond 2⁵³ lose digits. Names are exact, as [object.Reader] says.
// What is not valid Unicode becomes U+FFFD in texts, and is an error in names
// and ids. The error is one line without anything of what the activity says.
func Decode(data []byte) (schema.Activity, error) {
	return decode(object.NewReader(data))
}

// Check fails where Decode does, with the same error, but takes little time and
// memory. Of the activity, it returns its ids, type, times, serviceUrl,
// channelId and deliveryMode, and those ids that are in its accounts.
func Check(data []byte) (schema.Activity, error) {
	return decode(object.NewChecker(data))
}

func decode(r object.Reader) (a schema.Activity, err error) {
	d := decoder{r}
	d.activity(&a)
	if err := d.End("the activity"); err != nil {
		return schema.Activity{}, err
	}
	return a, nil
}

var (
	activityNames     = namesOf(schema.Activity{})
	accountNames      = namesOf(schema.ChannelAccount{})
	conversationNames = namesOf(schema.ConversationAccount{})
	reactionNames     = namesOf(schema.MessageReaction{})
	suggestedNames    = namesOf(schema.SuggestedActions{})
	actionNames       = namesOf(schema.CardAction{})
	attachmentNames   = namesOf(schema.Attachment{})
	entityNames       = namesOf(schema.Entity{})
	referenceNames    = namesOf(schema.ConversationReference{})
	highlightNames    = namesOf(schema.TextHighlight{})
	semanticNames     = namesOf(schema.SemanticAction{})
)

// namesOf returns the names that the fields of a struct have in JSON.
func namesOf(v any) *object.Names {
	var names []string
	for _, field := range reflect.VisibleFields(reflect.TypeOf(v)) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return object.NewNames(names...)
}

// A decoder has a method for each type of package schema. It reads every value
// whose name is known.
type decoder struct{ object.Reader }

func (d *decoder) activity(a *schema.Activity) {
	for name := range d.Members(activityNames) {
		switch name {
		case "type":
			a.Type = schema.ActivityTypes(d.ID())
		case "id":
			a.ID = d.ID()
		case "timestamp":
			a.Timestamp = d.time()
		case "localTimestamp":
			a.LocalTimestamp = d.time()
		case "localTimezone":
			a.LocalTimezone = d.Text()
		case "callerId":
			a.CallerID = d.ID()
		case "serviceUrl":
			a.ServiceURL = d.ID()
		case "channelId":
			a.ChannelID = d.ID()
		case "from":
			d.account(&a.From)
		case "conversation":
			d.conversation(&a.Conversation)
		case "recipient":
			d.account(&a.Recipient)
		case "textFormat":
			a.TextFormat = schema.TextFormatTypes(d.Text())
		case "attachmentLayout":
			a.AttachmentLayout = schema.AttachmentLayoutTypes(d.Text())
		case "membersAdded":
			list(d, &a.MembersAdded, (*decoder).account)
		case "membersRemoved":
			list(d, &a.MembersRemoved, (*decoder).account)
		case "reactionsAdded":
			list(d, &a.ReactionsAdded, (*decoder).reaction)
		case "reactionsRemoved":
			list(d, &a.ReactionsRemoved, (*decoder).reaction)
		case "topicName":
			a.TopicName = d.Text()
		case "historyDisclosed":
			a.HistoryDisclosed = d.Bool()
		case "locale":
			a.Locale = d.Text()
		case "text":
			a.Text = d.Text()
		case "speak":
			a.Speak = d.Text()
		case "inputHint":
			a.InputHint = schema.InputHints(d.Text())
		case "summary":
			a.Summary = d.Text()
		case "suggestedActions":
			d.suggested(&a.SuggestedActions)
		case "attachments":
			list(d, &a.Attachments, (*decoder).attachment)
		case "entities":
			list(d, &a.Entities, (*decoder).entity)
		case "channelData":
			a.ChannelData = mapOf(d.Any())
		case "action":
			a.Action = d.Text()
		case "replyToId":
			a.ReplyToID = d.ID()
		case "label":
			a.Label = d.Text()
		case "valueType":
			a.ValueType = d.Text()
		case "value":
			a.Value = mapOf(d.Any())
		case "name":
			a.Name = d.Text()
		case "relatesTo":
			d.reference(&a.RelatesTo)
		case "code":
			a.Code = schema.EndOfConversationCodes(d.Text())
		case "expiration":
			a.Expiration = d.time()
		case "importance":
			a.Importance = schema.ActivityImportance(d.Text())
		case "deliveryMode":
			a.DeliveryMode = schema.DeliveryModes(d.ID())
		case "listenFor":
			list(d, &a.ListenFor, (*decoder).text)
		case "textHighlights":
			list(d, &a.TextHighlights, (*decoder).highlight)
		case "semanticAction":
			d.semantic(&a.SemanticAction)
		}
	}
}

// list reads an array. A checker reads all elements into one place.
func list[T any](d *decoder, to *[]T, read func(*decoder, *T)) {
	for range d.Elements() {
		var zero T
		*to = append(*to, zero)
		read(d, &(*to)[len(*to)-1])
		if d.Checks() {
			*to = (*to)[:0]
		}
	}
}

func (d *decoder) text(s *string) { *s = d.Text() }
func (d *decoder) id(s *string)   { *s = d.ID() }

func (d *decoder) account(a *schema.ChannelAccount) {
	for name := range d.Members(accountNames) {
		switch name {
		case "id":
			a.ID = d.ID()
		case "name":
			a.Name = d.Text()
		case "aadObjectId":
			a.AadObjectID = d.ID()
		case "role":
			a.Role = schema.RoleTypes(d.Text())
		}
	}
}

func (d *decoder) conversation(c *schema.ConversationAccount) {
	for name := range d.Members(conversationNames) {
		switch name {
		case "isGroup":
			c.IsGroup = d.Bool()
		case "conversationType":
			c.ConversationType = d.Text()
		case "tenantId":
			c.TenantID = d.ID()
		case "id":
			c.ID = d.ID()
		case "name":
			c.Name = d.Text()
		case "aadObjectId":
			c.AadObjectID = d.ID()
		case "role":
			c.Role = schema.RoleTypes(d.Text())
		}
	}
}

func (d *decoder) reaction(m *schema.MessageReaction) {
	for range d.Members(reactionNames) {
		m.Type = schema.MessageReactionTypes(d.Text())
	}
}

func (d *decoder) entity(e *schema.Entity) {
	for range d.Members(entityNames) {
		e.Type = d.Text()
	}
}

func (d *decoder) suggested(s *schema.SuggestedActions) {
	for name := range d.Members(suggestedNames) {
		switch name {
		case "to":
			list(d, &s.To, (*decoder).id)
		case "actions":
			list(d, &s.Actions, (*decoder).action)
		}
	}
}

func (d *decoder) action(a *schema.CardAction) {
	for name := range d.Members(actionNames) {
		switch name {
		case "type":
			a.Type = schema.ActionTypes(d.Text())
		case "title":
			a.Title = d.Text()
		case "image":
			a.Image = d.Text()
		case "text":
			a.Text = d.Text()
		case "displayText":
			a.DisplayText = d.Text()
		case "value":
			a.Value = mapOf(d.Any())
		case "channelData":
			a.ChannelData = mapOf(d.Any())
		}
	}
}

func (d *decoder) attachment(a *schema.Attachment) {
	for name := range d.Members(attachmentNames) {
		switch name {
		case "contentType":
			a.ContentType = d.Text()
		case "contentUrl":
			a.ContentURL = d.Text()
		case "content":
			a.Content = d.Any()
		case "name":
			a.Name = d.Text()
		case "thumbnailUrl":
			a.ThumbnailURL = d.Text()
		}
	}
}

func (d *decoder) reference(r *schema.ConversationReference) {
	for name := range d.Members(referenceNames) {
		switch name {
		case "activityId":
			r.ActivityID = d.ID()
		case "user":
			d.account(&r.User)
		case "bot":
			d.account(&r.Bot)
		case "conversation":
			d.conversation(&r.Conversation)
		case "channelId":
			r.ChannelID = d.ID()
		case "serviceUrl":
			r.ServiceURL = d.ID()
		}
	}
}

func (d *decoder) highlight(h *schema.TextHighlight) {
	for name := range d.Members(highlightNames) {
		switch name {
		case "text":
			h.Text = d.Text()
		case "occurrence":
			h.Occurrence = d.Int32()
		}
	}
}

func (d *decoder) semantic(s *schema.SemanticAction) {
	for name := range d.Members(semanticNames) {
		switch name {
		case "state":
			s.State = schema.SemanticActionStates(d.Text())
		case "id":
			s.ID = d.ID()
		case "entities":
			s.Entities = make(map[string]schema.Entity)
			for name := range d.Entries() {
				var e schema.Entity
				d.entity(&e)
				s.Entities[name] = e
			}
		}
	}
}

// mapOf returns a map that stands for v.
func mapOf(v any) map[string]any {
	if v == nil {
		return nil
	}
	m, ok := v.(map[string]any)
	if _, empty := m[""]; ok && !(empty && len(m) == 1) {
		return m
	}
	return map[string]any{"": v}
}

// layouts are the forms of times, with a T between date and time.
var layouts = []string{
	time.RFC3339,
	"2006-01-02T15:04:05",
	"2006-01-02T15:04:05Z0700",
	"2006-01-02T15:04:05Z07",
	"2006-01-02T15:04Z07:00",
	"2006-01-02T15:04",
	"2006-01-02",
	"20060102T150405Z0700",
	"20060102T150405",
}

// maxTime is longer than any time, in bytes of JSON.
const maxTime = 64

// time reads a time; the zero time if it is none that Encode can write.
func (d *decoder) time() (t time.Time) {
	data := d.Raw()
	if t.UnmarshalJSON(data) == nil && isWritable(t) {
		return t // as usual
	}
	text, ok := object.String(data)
	if !ok || len(data) > maxTime {
		return time.Time{}
	}
	text = strings.ToUpper(strings.Replace(text, " ", "T", 1))
	for _, layout := range layouts {
		if t, err := time.Parse(layout, text); err == nil && isWritable(t) {
			return t
		}
	}
	return time.Time{}
}

// isWritable reports whether Encode can write t, which was parsed, in UTC too.
func isWritable(t time.Time) bool {
	const day = 24 * 60 * 60
	year := t.UTC().Year()
	_, offset := t.Zone()
	return 1 <= year && year <= 9999 && -day < offset && offset < day
}
