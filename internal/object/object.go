// Package object reads JSON that comes from outside, by a [Reader], and edits
// the JSON objects of a storage, as an [Object]: their members keep their bytes
// and their place, white space included, until they are set or deleted.
package object

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
)

// An Object is a JSON object. The zero Object has no members.
type Object struct {
	members []member
	tail    []byte // white space of an object without members
}

// A member is one name and value with the bytes around them: lead reaches from
// the preceding brace or comma to the value, trail from the value to the next
// comma or brace.
type member struct {
	name        string
	lead, trail []byte
	value       json.RawMessage
}

// Parse splits a JSON text, which the object keeps referring to.
func Parse(data []byte) (Object, error) {
	if !json.Valid(data) {
		return Object{}, errors.New("not JSON")
	}
	o, ok := ParseValid(data)
	if !ok {
		return o, errors.New("not a JSON object")
	}
	return o, nil
}

// ParseValid is Parse for what is known to be valid JSON, such as a value of
// an object that was parsed, or nil. It reports false if that is no object.
func ParseValid(data []byte) (o Object, ok bool) {
	if len(data) == 0 {
		return o, false
	}
	// Data is well formed: there is always a next byte where the grammar
	// wants one.
	i := skipSpace(data, 0)
	if data[i] != '{' {
		return o, false
	}
	i++
	if end := skipSpace(data, i); data[end] == '}' {
		o.tail = data[i:end]
		return o, true
	}
	o.members = make([]member, 0, 4)
	for {
		start := i
		nameStart := skipSpace(data, i)
		nameEnd := skipValue(data, nameStart)
		valueStart := skipSpace(data, skipSpace(data, nameEnd)+1) // past the colon
		valueEnd := skipValue(data, valueStart)
		end := skipSpace(data, valueEnd)
		o.members = append(o.members, member{
			name:  unquote(data[nameStart:nameEnd]),
			lead:  data[start:valueStart:valueStart],
			value: data[valueStart:valueEnd:valueEnd],
			trail: data[valueEnd:end:end],
		})
		if data[end] == '}' {
			return o, true
		}
		i = end + 1
	}
}

// Elements splits what is known to be valid JSON, or nil, into the elements of
// an array. It reports false if that is none.
func Elements(data []byte) (elements []json.RawMessage, ok bool) {
	if len(data) == 0 {
		return nil, false
	}
	i := skipSpace(data, 0)
	if data[i] != '[' {
		return nil, false
	}
	for data[i] != ']' { // data[i] is the bracket or a comma
		if i = skipSpace(data, i+1); data[i] == ']' {
			break
		}
		end := skipValue(data, i)
		elements = append(elements, data[i:end:end])
		i = skipSpace(data, end)
	}
	return elements, true
}

func skipSpace(data []byte, i int) int {
	for data[i] == ' ' || data[i] == '\t' || data[i] == '\n' || data[i] == '\r' {
		i++
	}
	return i
}

// skipValue returns the end of the value that begins at data[i].
func skipValue(data []byte, i int) int {
	depth := 0
	for {
		switch data[i] {
		case '"':
			for i++; data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		default:
			if depth == 0 { // number, true, false or null
				for i < len(data) && !isDelimiter(data[i]) {
					i++
				}
				return i
			}
		}
		i++
		if depth == 0 {
			return i
		}
	}
}

func isDelimiter(c byte) bool {
	switch c {
	case ' ', '\t', '\n', '\r', ',', ':', '}', ']':
		return true
	}
	return false
}

// String reads what is known to be valid JSON, or nil, as a string. It reports
// false if that is none.
func String(data []byte) (s string, ok bool) {
	if data = bytes.TrimSpace(data); len(data) == 0 || data[0] != '"' {
		return "", false
	}
	return unquote(data), true
}

func unquote(quoted []byte) string {
	text, _ := unescape(quoted[1 : len(quoted)-1])
	return string(text)
}

// Index finds the last member called name, the one that JSON readers take
// where a name is doubled; -1 if there is none.
func (o *Object) Index(name string) int {
	for i := len(o.members) - 1; i >= 0; i-- {
		if o.members[i].name == name {
			return i
		}
	}
	return -1
}

// Get returns the value of name, nil if there is none.
func (o *Object) Get(name string) json.RawMessage {
	if i := o.Index(name); i >= 0 {
		return o.members[i].value
	}
	return nil
}

// Set gives name a value, in its place if it has one, else at the end.
func (o *Object) Set(name string, value json.RawMessage) {
	if i := o.Index(name); i >= 0 {
		o.members[i].value = value
		return
	}
	lead, _ := json.Marshal(name) // a string always encodes
	o.members = append(o.members, member{name: name, lead: append(lead, ':'), value: value})
}

// Delete removes every member called name.
func (o *Object) Delete(name string) {
	o.Filter(func(n string) bool { return n != name })
}

// Filter removes the members whose names keep refuses.
func (o *Object) Filter(keep func(name string) bool) {
	o.members = slices.DeleteFunc(o.members, func(m member) bool { return !keep(m.name) })
}

// Len returns how many members there are.
func (o *Object) Len() int { return len(o.members) }

// All calls yield for each member, in order.
func (o *Object) All(yield func(name string, value json.RawMessage) bool) {
	for _, m := range o.members {
		if !yield(m.name, m.value) {
			return
		}
	}
}

// Clone returns an object whose members can be set and deleted apart from o's.
func (o *Object) Clone() Object {
	return Object{members: append([]member(nil), o.members...), tail: o.tail}
}

// Encode writes the object out.
func (o *Object) Encode() json.RawMessage {
	if len(o.members) == 0 {
		return append(append([]byte{'{'}, o.tail...), '}')
	}
	n := 1
	for _, m := range o.members {
		n += len(m.lead) + len(m.value) + len(m.trail) + 1
	}
	out := append(make([]byte, 0, n), '{')
	for i, m := range o.members {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, m.lead...), m.value...), m.trail...)
	}
	return append(out, '}')
}

// Equal reports whether o and e have the same members with the same values.
func (o *Object) Equal(e *Object) bool {
	if len(o.members) != len(e.members) {
		return false
	}
	for i, m := range o.members {
		if m.name != e.members[i].name || !bytes.Equal(m.value, e.members[i].value) {
			return false
		}
	}
	return true
}

// Marshal encodes v as other SDKs do: characters special to HTML stay as they
// are.
func Marshal(v any) (json.RawMessage, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}
