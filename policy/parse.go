package policy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Parse returns the policy of a JSON document:
//
//	{"rules": [
//	  {"name": "nudge", "after": "5m", "do": {"say": "Are you still there?"}},
//	  {"name": "idle", "when": {"channels": ["webchat"]}, "after": "PT10M", "do": {"end": true, "say": "Goodbye."}},
//	  {"name": "idle", "after": "30m", "do": {"end": true, "say": "Goodbye."}},
//	  {"name": "no-input", "since": "asked", "after": 20, "times": 2, "do": {"ask": true}, "then": {"end": true, "close": true}}
//	]}
//
// The keys are the fields of [Rule] and of what it holds, in snake case. Then is a
// list of steps, or one action, which is done once. A duration is Go's, where "7d"
// is 7 times 24 h, or ISO 8601 without years and months, or a number of seconds.
// "$schema" is for editors.
//
// A document may also hold conversation.timeout events: under "events", beside
// "rules" or without, or as an array, or one alone. They come after the rules, and
// with them messages alone are user input ([Policy.MessagesOnly]). An event is
// judged when the user writes: it is due if their message comes more than Timeout
// minutes after the one before. Of those that hold and are due, the one of the
// highest Priority fires, and of several the first. A flow begins as with Goto. A
// message is told as with OnReturn; it ends the session and takes the user's
// message. The dialog under way ends, whatever IsInterrupt says.
//
// The error is of type [Problems] and holds all that is wrong, with line and
// column.
func Parse(data []byte) (Policy, error) {
	d := document{data: bytes.TrimPrefix(data, []byte("\ufeff")), at: make(map[string]int)}
	if root, ok := d.tree(); ok {
		d.root(root)
	}
	p := compile(d.rules)
	p.messagesOnly = len(d.events) > 0
	p.check(func(i int, key, text string) {
		d.name, d.key = p.lines[i].id, join(d.origins[i], key)
		at, ok := d.at[d.key]
		if !ok {
			at = d.at[d.origins[i]]
		}
		d.bad(at, "%s", text)
	})
	if len(d.found) > 0 {
		return Policy{}, d.problems()
	}
	return p, nil
}

// A document is read into rules.
type document struct {
	data  []byte
	key   string         // of the value that is being read, such as "rules[2].do.end"
	name  string         // of its rule
	at    map[string]int // where the values of keys stand
	found []found

	rules   []Rule
	origins []string // the key of each rule
	events  []event
}

// A node is a JSON value and where it stands. The value is nil, bool,
// json.Number, string, []node or []member.
type node struct {
	at    int
	value any
}

// get returns the value of a key, or one of nil that stands where n does.
func (n node) get(name string) node {
	members, _ := n.value.([]member)
	for _, m := range members {
		if m.name == name {
			return m.value
		}
	}
	return node{at: n.at}
}

// text returns the text of a key, or "".
func (n node) text(name string) string {
	text, _ := n.get(name).value.(string)
	return text
}

type member struct {
	at    int
	name  string
	value node
}

// A found problem does not know its line and column yet.
type found struct {
	at int
	Problem
}

func (d *document) bad(at int, format string, args ...any) {
	d.found = append(d.found, found{at, Problem{Rule: d.name, Key: d.key, Text: fmt.Sprintf(format, args...)}})
}

// problems returns what was found, in its order, with line and column.
func (d *document) problems() Problems {
	slices.SortStableFunc(d.found, func(a, b found) int { return cmp.Compare(a.at, b.at) })
	problems := make(Problems, len(d.found))
	line, column, at := 1, 1, 0
	for i, f := range d.found {
		for _, r := range string(d.data[at:f.at]) {
			if column++; r == '\n' {
				line, column = line+1, 1
			}
		}
		at = f.at
		f.Line, f.Column = line, column
		problems[i] = f.Problem
	}
	return problems
}

// tree reads the whole document. It reports false if that is not JSON.
func (d *document) tree() (node, bool) {
	for i := 0; i < len(d.data); {
		r, size := utf8.DecodeRune(d.data[i:])
		if r == utf8.RuneError && size == 1 {
			d.bad(i, "is not UTF-8")
			return node{}, false
		}
		i += size
	}
	if err := json.Unmarshal(d.data, new(json.RawMessage)); err != nil {
		at := 0
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			at = max(int(syntax.Offset)-1, 0)
		}
		d.bad(at, "is not JSON: %v", err)
		return node{}, false
	}
	decoder := json.NewDecoder(bytes.NewReader(d.data))
	decoder.UseNumber()
	return d.node(decoder), true
}

// node reads the next value of what is known to be JSON.
func (d *document) node(decoder *json.Decoder) node {
	n := node{at: d.next(decoder)}
	token, _ := decoder.Token()
	switch token {
	case json.Delim('['):
		list := []node{}
		for decoder.More() {
			list = append(list, d.node(decoder))
		}
		n.value = list
		decoder.Token()
	case json.Delim('{'):
		object := []member{}
		for decoder.More() {
			at := d.next(decoder)
			name, _ := decoder.Token()
			object = append(object, member{at, name.(string), d.node(decoder)})
		}
		n.value = object
		decoder.Token()
	default:
		n.value = token
	}
	return n
}

// next returns where the next token begins.
func (d *document) next(decoder *json.Decoder) int {
	at := int(decoder.InputOffset())
	return at + bytes.IndexFunc(d.data[at:], func(r rune) bool { return !strings.ContainsRune(" \t\r\n,:", r) })
}

// A field reads the value of one key of an object.
type field struct {
	name string
	read func(node)
}

// object reads an object of these fields. It reports false if n is none.
func (d *document) object(n node, fields ...field) bool {
	members, ok := n.value.([]member)
	if !ok {
		d.bad(n.at, "must be an object")
		return false
	}
	key := d.key
	seen := make(map[string]bool)
	for _, m := range members {
		d.key = m.name
		if strings.ContainsFunc(m.name, func(r rune) bool { return !unicode.IsGraphic(r) }) {
			d.key = strconv.Quote(m.name)
		}
		d.key = join(key, d.key)
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == m.name })
		switch {
		case i < 0:
			d.bad(m.at, "is unknown; allowed here: %s", names(fields))
		case seen[m.name]:
			d.bad(m.at, "is there twice")
		default:
			seen[m.name] = true
			d.at[d.key] = m.value.at
			fields[i].read(m.value)
		}
	}
	d.key = key
	return true
}

func names(fields []field) string {
	list := make([]string, len(fields))
	for i := range fields {
		list[i] = fields[i].name
	}
	return strings.Join(list, ", ")
}

// list reads each element of an array.
func (d *document) list(each func(node)) func(node) {
	return func(n node) {
		list, ok := n.value.([]node)
		if !ok {
			d.bad(n.at, "must be a list")
			return
		}
		key := d.key
		for i, n := range list {
			d.key = fmt.Sprintf("%s[%d]", key, i)
			d.at[d.key] = n.at
			each(n)
		}
		d.key = key
	}
}

func (d *document) text(into *string) func(node) {
	return func(n node) {
		var ok bool
		if *into, ok = n.value.(string); !ok {
			d.bad(n.at, "must be a text")
		}
	}
}

func (d *document) texts(into *[]string) func(node) {
	return d.list(func(n node) {
		var text string
		d.text(&text)(n)
		*into = append(*into, text)
	})
}

func (d *document) flag(into *bool) func(node) {
	return func(n node) {
		var ok bool
		if *into, ok = n.value.(bool); !ok {
			d.bad(n.at, "must be true or false")
		}
	}
}

func (d *document) count(into *int) func(node) {
	return func(n node) {
		number, _ := n.value.(json.Number)
		var err error
		if *into, err = strconv.Atoi(string(number)); err != nil {
			d.bad(n.at, "must be a whole number from 0 to %d", MaxTimes)
			*into = 0
		}
	}
}

func (d *document) mark(into *Mark) func(node) {
	return func(n node) {
		text, _ := n.value.(string)
		if into.UnmarshalText([]byte(text)) != nil {
			d.bad(n.at, "must be one of %s", strings.Join(marks[:], ", "))
		}
	}
}

func (d *document) duration(into *time.Duration) func(node) {
	return func(n node) {
		var err error
		switch value := n.value.(type) {
		case json.Number:
			*into, err = scaled(value, time.Second)
		case string:
			*into, err = parseDuration(value)
		default:
			err = errDuration
		}
		if err == nil && *into < 0 {
			err = errNegative
		}
		if err != nil {
			d.bad(n.at, "%v", err)
		}
	}
}

var (
	errDuration = errors.New(`must be a duration such as "90s", "1h30m", "7d" or "PT10M", or a number of seconds, of at most 292 years`)
	errNegative = errors.New("must not be negative; 0 is never")
)

// scaled returns a number of units, to the nanosecond.
func scaled(number json.Number, unit time.Duration) (time.Duration, error) {
	f, err := number.Float64()
	f *= float64(unit)
	if err != nil || math.Abs(f) >= math.MaxInt64 || f > 0 && f < 0.5 {
		return 0, errDuration
	}
	return time.Duration(math.Round(f)), nil
}

var (
	iso8601 = regexp.MustCompile(`^P([\d.]+W)?([\d.]+D)?(T([\d.]+H)?([\d.]+M)?([\d.]+S)?)?$`)
	goDays  = regexp.MustCompile(`^([\d.]+d)?(.*)$`)
)

// parseDuration reads what Go writes, with days, and ISO 8601.
func parseDuration(text string) (time.Duration, error) {
	if positive, ok := strings.CutPrefix(text, "-"); ok {
		_, err := parseDuration(positive)
		return 0, cmp.Or(err, errNegative)
	}
	var weeks, days, clock string
	if part := iso8601.FindStringSubmatch(text); part != nil && !strings.HasSuffix(text, "T") {
		weeks, days, clock = part[1], part[2], strings.ToLower(strings.TrimPrefix(part[3], "T"))
	} else if part := goDays.FindStringSubmatch(text); part != nil {
		days, clock = part[1], part[2]
	}
	if weeks+days+clock == "" || strings.ContainsAny(clock, "+-") {
		return 0, errDuration
	}
	var total time.Duration
	for _, part := range []struct {
		text string
		hour time.Duration // what one of its hours stands for
	}{{hours(weeks), 7 * 24}, {hours(days), 24}, {clock, 1}} {
		if part.text == "" {
			continue
		}
		d, err := time.ParseDuration(part.text)
		if err != nil || d > (math.MaxInt64-total)/part.hour {
			return 0, errDuration
		}
		total += d * part.hour
	}
	if total == 0 && strings.ContainsAny(text, "123456789") {
		return 0, errDuration // less than 1 ns
	}
	return total, nil
}

// hours returns the text with h for its unit.
func hours(text string) string {
	if text == "" {
		return ""
	}
	return text[:len(text)-1] + "h"
}

// root reads the document itself.
func (d *document) root(n node) {
	d.at[d.key] = n.at
	_, list := n.value.([]node)
	switch {
	case list:
		d.list(d.event)(n)
	case n.get("Type").value != nil:
		d.event(n)
	default:
		d.object(n,
			field{"$schema", d.text(new(string))},
			field{"rules", d.list(d.rule)},
			field{"events", d.list(d.event)})
	}
	d.addEvents()
}

func (d *document) rule(n node) {
	var r Rule
	d.name = n.text("name")
	defer func() { d.name = "" }()
	if !d.object(n,
		field{"name", d.text(&r.Name)},
		field{"when", func(n node) {
			d.object(n,
				field{"channels", d.texts(&r.When.Channels)},
				field{"at", d.texts(&r.When.At)},
				field{"by", d.text(&r.When.By)})
		}},
		field{"since", d.mark(&r.Since)},
		field{"only_on_input", d.flag(&r.OnlyOnInput)},
		field{"after", d.duration(&r.After)},
		field{"times", d.count(&r.Times)},
		field{"do", d.action(&r.Do)},
		field{"then", func(n node) {
			if _, ok := n.value.([]node); ok {
				d.list(func(n node) { r.Then = append(r.Then, d.step(n)) })(n)
				return
			}
			key := d.key
			d.key += "[0].do"
			r.Then = make([]Step, 1)
			d.action(&r.Then[0].Do)(n)
			d.key = key
		}}) {
		return
	}
	if r.Do != (Action{}) || len(r.Then) > 0 {
		d.needs(n, "after")
	}
	d.rules, d.origins = append(d.rules, r), append(d.origins, d.key)
}

// needs refuses an object that lacks one of these keys.
func (d *document) needs(n node, names ...string) {
	for _, name := range names {
		if n.get(name).value == nil {
			d.bad(n.at, "%s is missing", name)
		}
	}
}

func (d *document) step(n node) (s Step) {
	d.object(n,
		field{"after", d.duration(&s.After)},
		field{"times", d.count(&s.Times)},
		field{"do", d.action(&s.Do)})
	return s
}

func (d *document) action(into *Action) func(node) {
	return func(n node) {
		d.object(n,
			field{"end", d.flag(&into.End)},
			field{"close", d.flag(&into.Close)},
			field{"say", d.text(&into.Say)},
			field{"on_return", d.text(&into.OnReturn)},
			field{"ask", d.flag(&into.Ask)},
			field{"goto", d.text(&into.Goto)},
			field{"take", d.flag(&into.Take)})
	}
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}
