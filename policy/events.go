package policy

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

const timeoutType = "conversation.timeout"

// An event is a conversation.timeout as rules: first its exception, if it has
// one; none if it is off.
type event struct {
	priority float64
	key      string // in the document
	rules    []Rule
}

// addEvents adds the rules of the events in the order of their election.
func (d *document) addEvents() {
	slices.SortStableFunc(d.events, func(a, b event) int { return cmp.Compare(b.priority, a.priority) })
	taken := make(map[string]bool)
	for _, r := range d.rules {
		taken[r.Name] = true
	}
	for _, e := range d.events {
		for i, r := range e.rules {
			if i == 0 && taken[r.Name] {
				d.name, d.key = r.Name, join(e.key, "Id")
				d.bad(d.at[d.key], "is the name of another rule or event")
			}
			taken[r.Name] = true
			d.rules, d.origins = append(d.rules, r), append(d.origins, e.key)
		}
	}
}

// event reads a conversation.timeout. What cannot be done is refused by name.
func (d *document) event(n node) {
	d.at[d.key] = n.at
	d.name = n.text("Id")
	defer func() { d.name = "" }()
	if n.text("Type") != timeoutType {
		d.bad(n.get("Type").at, "Type must be %s; other events are not supported", timeoutType)
		return
	}
	e := event{priority: 50, key: d.key}
	main := Rule{OnlyOnInput: true}
	var where places
	var enabled bool
	if !d.object(n,
		field{"Id", d.text(&main.Name)},
		field{"Description", d.text(new(string))},
		field{"Type", func(node) {}},
		field{"Timeout", func(n node) {
			minutes, _ := n.value.(json.Number)
			after, err := scaled(minutes, time.Minute)
			if err != nil || after < 0 {
				d.bad(n.at, "must be a number of minutes from 0, of at most 292 years; variables are not supported")
			}
			if main.After = after; after > 0 {
				main.After++ // the silence must be longer
			}
		}},
		field{"Action", func(n node) { main.Do = d.eventAction(n) }},
		field{"Priority", func(n node) {
			number, _ := n.value.(json.Number)
			var err error
			if e.priority, err = number.Float64(); err != nil || e.priority < 0 || e.priority > 100 {
				d.bad(n.at, "must be a number from 0 to 100")
			}
		}},
		field{"FlowConditions", d.list(func(n node) { d.condition(n, &where) })},
		field{"IsEnable", d.flag(&enabled)}) {
		return
	}
	d.needs(n, "Id", "Action", "IsEnable")
	if enabled && main.After > 0 && main.Name != "" {
		if len(where.without) > 0 {
			e.rules = append(e.rules, Rule{Name: main.Name, When: When{At: where.without}})
		}
		if !where.everywhere {
			main.When.At = where.within
		}
		e.rules = append(e.rules, main)
	}
	d.events = append(d.events, e)
}

// Places are where an event holds: within any of these ids, or everywhere if there
// are none, but without any of those. The id "" is: no dialog is under way.
type places struct {
	everywhere      bool
	within, without []string
}

// condition reads one of FlowConditions.
func (d *document) condition(n node, where *places) {
	kind, value := "none", ""
	if !d.object(n, field{"Type", d.text(&kind)}, field{"Value", d.text(&value)}) {
		return
	}
	ids := strings.Split(value, ",")
	for i := range ids {
		ids[i] = strings.TrimSpace(ids[i])
	}
	switch kind {
	case "flow", "node":
		where.within = append(where.within, ids...)
	case "flow.excluded", "node.excluded":
		where.without = append(where.without, ids...)
	case "none", "flow.empty":
		if strings.TrimSpace(value) != "" {
			d.bad(n.get("Value").at, "Value must be blank where Type is %s", kind)
		}
		where.within = append(where.within, "")
		where.everywhere = where.everywhere || kind == "none"
	default:
		d.bad(n.get("Type").at, "Type must be one of none, flow, flow.empty, flow.excluded, node, node.excluded")
	}
}

func (d *document) eventAction(n node) (do Action) {
	kind := field{"Type", func(node) {}}
	interrupt := field{"IsInterrupt", d.flag(new(bool))}
	variables := field{"VariableActions", d.unsupported}
	switch n.text("Type") {
	case "flow":
		d.object(n, kind, interrupt, variables, field{"FlowId", d.plain(&do.Goto)}, field{"Arguments", d.unsupported})
		if d.needs(n, "FlowId"); n.text("FlowId") == "" {
			d.bad(n.get("FlowId").at, "FlowId must not be empty")
		}
	case "message":
		var texts []string
		d.object(n, kind, interrupt, variables, field{"Messages", d.list(func(n node) { texts = append(texts, d.message(n)...) })})
		d.needs(n, "Messages")
		do = Action{End: true, Take: true, OnReturn: strings.Join(texts, "\n\n")}
	default:
		d.bad(n.get("Type").at, "Type must be flow or message; others, such as composite and flow.module, are not supported")
	}
	return do
}

// message returns the text of one of Messages, if it has one.
func (d *document) message(n node) []string {
	fields := []field{{"Type", func(node) {}}, {"QuickReply", d.unsupported}, {"ChannelDataPayload", d.unsupported}}
	switch n.text("Type") {
	case "none":
		d.object(n, fields...)
		return nil
	case "text":
		var text string
		d.object(n, append(fields, field{"Text", d.plain(&text)})...)
		d.needs(n, "Text")
		return []string{text}
	}
	d.bad(n.get("Type").at, "Type must be text or none; other contents are not supported")
	return nil
}

// plain reads a text without variables.
func (d *document) plain(into *string) func(node) {
	return func(n node) {
		if d.text(into)(n); strings.Contains(*into, "{{") {
			d.bad(n.at, "variables are not supported")
		}
	}
}

// unsupported refuses what is not empty.
func (d *document) unsupported(n node) {
	switch value := n.value.(type) {
	case []node:
		if len(value) == 0 {
			return
		}
	case []member:
		if len(value) == 0 {
			return
		}
	}
	d.bad(n.at, "is not supported")
}
