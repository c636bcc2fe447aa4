package cosmostest

import (
	"cmp"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// An expr is a part of a query that has a value for each item. Values are what
// encoding/json decodes into an any, or undefined.
type expr interface {
	eval(item *element) any
}

// An element is a JSON text that is looked into. It is parsed once.
type element struct {
	body    json.RawMessage
	members object // nil until they are needed
}

func (e *element) get(name string) json.RawMessage {
	if e.members == nil {
		e.members, _ = parseObject(e.body)
	}
	return e.members.get(name)
}

// undefined is the value of what is not there. An operation on it is itself
// undefined, and an item for which a condition is undefined is not selected.
type undefined struct{}

type (
	literal struct{ value any }
	path    []any // the names of members and the indexes of elements
	not     struct{ operand expr }
	logical struct {
		or          bool
		left, right expr
	}
	comparison struct {
		operator    string
		left, right expr
	}
	in struct {
		operand expr
		list    []expr
	}
	functionCall struct {
		function  function
		arguments []expr
	}
)

func (l literal) eval(*element) any { return l.value }

func (p path) eval(item *element) any {
	raw := p.find(item)
	if raw == nil {
		return undefined{}
	}
	if c := raw[0]; c == '-' || isDigit(c) {
		if n, err := strconv.ParseFloat(string(raw), 64); err == nil {
			return n // much the same as below, in less time
		}
	}
	var v any
	_ = json.Unmarshal(raw, &v) // items are valid
	return v
}

// find returns what is at p in item, nil if nothing is.
func (p path) find(item *element) json.RawMessage {
	for i, step := range p {
		var inner json.RawMessage
		switch step := step.(type) {
		case string:
			inner = item.get(step)
		case int:
			var list []json.RawMessage
			if json.Unmarshal(item.body, &list) == nil && step < len(list) {
				inner = list[step]
			}
		}
		if inner == nil || i == len(p)-1 {
			return inner
		}
		item = &element{body: inner}
	}
	return item.body
}

// lastName returns the name under which p is selected.
func (p path) lastName(alias string) string {
	if len(p) == 0 {
		return alias
	}
	if name, ok := p[len(p)-1].(string); ok {
		return name
	}
	return "$1"
}

func (n not) eval(item *element) any {
	if v, ok := n.operand.eval(item).(bool); ok {
		return !v
	}
	return undefined{}
}

func (l logical) eval(item *element) any {
	left := l.left.eval(item)
	if left == l.or {
		return l.or
	}
	right := l.right.eval(item)
	if right == l.or {
		return l.or // true OR anything, false AND anything
	}
	if left == !l.or && right == !l.or {
		return !l.or
	}
	return undefined{}
}

func (c comparison) eval(item *element) any {
	left, right := c.left.eval(item), c.right.eval(item)
	if left == any(undefined{}) || right == any(undefined{}) {
		return undefined{}
	}
	switch c.operator {
	case "=":
		return reflect.DeepEqual(left, right)
	case "!=", "<>":
		return !reflect.DeepEqual(left, right)
	}
	if rank(left) != rank(right) || rank(left) > rank("") {
		return undefined{}
	}
	switch order := compare(left, right); c.operator {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	default:
		return order >= 0
	}
}

func (i in) eval(item *element) any {
	v := i.operand.eval(item)
	if v == any(undefined{}) {
		return v
	}
	for _, e := range i.list {
		if reflect.DeepEqual(v, e.eval(item)) {
			return true
		}
	}
	return false
}

// rank orders the types of values for ORDER BY.
func rank(v any) int {
	switch v.(type) {
	case undefined:
		return 0
	case nil:
		return 1
	case bool:
		return 2
	case float64:
		return 3
	case string:
		return 4
	case []any:
		return 5
	}
	return 6
}

func compare(a, b any) int {
	if n := cmp.Compare(rank(a), rank(b)); n != 0 {
		return n
	}
	switch a := a.(type) {
	case bool:
		switch b := b.(bool); {
		case a == b:
			return 0
		case b:
			return -1
		}
		return 1
	case float64:
		return cmp.Compare(a, b.(float64))
	case string:
		return strings.Compare(a, b.(string))
	}
	return 0
}

type function struct {
	arguments int
	eval      func(arguments []any) any
}

var functions = map[string]function{
	"IS_DEFINED": {1, func(a []any) any { return a[0] != any(undefined{}) }},
	"IS_NULL":    {1, func(a []any) any { return a[0] == nil }},
	"STARTSWITH": {2, onStrings(strings.HasPrefix)},
	"ENDSWITH":   {2, onStrings(strings.HasSuffix)},
	"CONTAINS":   {2, onStrings(strings.Contains)},
}

func onStrings(f func(s, part string) bool) func([]any) any {
	return func(a []any) any {
		s, ok1 := a[0].(string)
		part, ok2 := a[1].(string)
		if !ok1 || !ok2 {
			return undefined{}
		}
		return f(s, part)
	}
}

func (c functionCall) eval(item *element) any {
	values := make([]any, len(c.arguments))
	for i, e := range c.arguments {
		values[i] = e.eval(item)
	}
	return c.function.eval(values)
}

// pinned returns the value that an item must have at p for e to be true of it,
// and false if there is not just one.
func pinned(e expr, p path) (any, bool) {
	switch e := e.(type) {
	case logical:
		if e.or {
			return nil, false
		}
		if v, ok := pinned(e.left, p); ok {
			return v, true
		}
		return pinned(e.right, p)
	case comparison:
		if e.operator != "=" {
			return nil, false
		}
		left, right := e.left, e.right
		if _, ok := left.(literal); ok {
			left, right = right, left
		}
		if l, ok := right.(literal); ok && reflect.DeepEqual(left, expr(p)) {
			return l.value, true
		}
	}
	return nil, false
}
