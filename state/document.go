package state

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// A document is a JSON object whose members keep their bytes and their place,
// white space included, until they are set or deleted. Other SDKs own members
// of the same document: what this bot does not change must not change.
type document struct {
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

// parseDocument splits data, which it keeps referring to.
func parseDocument(data []byte) (document, error) {
	var doc document
	if !json.Valid(data) {
		return doc, fmt.Errorf("%w: not JSON", ErrCorrupt)
	}
	// From here on data is known to be well formed: there is always a next
	// byte where the grammar wants one.
	i := skipSpace(data, 0)
	if data[i] != '{' {
		return doc, fmt.Errorf("%w: not a JSON object", ErrCorrupt)
	}
	i++
	if end := skipSpace(data, i); data[end] == '}' {
		doc.tail = data[i:end]
		return doc, nil
	}
	for {
		start := i
		nameStart := skipSpace(data, i)
		nameEnd := skipValue(data, nameStart)
		valueStart := skipSpace(data, skipSpace(data, nameEnd)+1) // past the colon
		valueEnd := skipValue(data, valueStart)
		end := skipSpace(data, valueEnd)
		name, err := unquote(data[nameStart:nameEnd])
		if err != nil {
			return doc, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		doc.members = append(doc.members, member{
			name:  name,
			lead:  data[start:valueStart:valueStart],
			value: data[valueStart:valueEnd:valueEnd],
			trail: data[valueEnd:end:end],
		})
		if data[end] == '}' {
			return doc, nil
		}
		i = end + 1
	}
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

func unquote(quoted []byte) (string, error) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1]), nil
	}
	var s string
	err := json.Unmarshal(quoted, &s)
	return s, err
}

// index finds the last member called name, the one that JSON readers take
// where a name is doubled; -1 if there is none.
func (d *document) index(name string) int {
	for i := len(d.members) - 1; i >= 0; i-- {
		if d.members[i].name == name {
			return i
		}
	}
	return -1
}

// get returns the value of name, nil if there is none.
func (d *document) get(name string) json.RawMessage {
	if i := d.index(name); i >= 0 {
		return d.members[i].value
	}
	return nil
}

// set gives name a value, in its place if it has one, else at the end.
func (d *document) set(name string, value json.RawMessage) {
	if i := d.index(name); i >= 0 {
		d.members[i].value = value
		return
	}
	lead, _ := marshal(name) // a string always encodes
	d.members = append(d.members, member{name: name, lead: append(lead, ':'), value: value})
}

// delete removes every member called name.
func (d *document) delete(name string) {
	kept := d.members[:0]
	for _, m := range d.members {
		if m.name != name {
			kept = append(kept, m)
		}
	}
	clear(d.members[len(kept):])
	d.members = kept
}

// clone returns a document whose members can be set and deleted apart from d's.
func (d *document) clone() document {
	return document{members: append([]member(nil), d.members...), tail: d.tail}
}

// encode writes the document out.
func (d *document) encode() json.RawMessage {
	if len(d.members) == 0 {
		return append(append([]byte{'{'}, d.tail...), '}')
	}
	n := 1
	for _, m := range d.members {
		n += len(m.lead) + len(m.value) + len(m.trail) + 1
	}
	out := append(make([]byte, 0, n), '{')
	for i, m := range d.members {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, m.lead...), m.value...), m.trail...)
	}
	return append(out, '}')
}

// equal reports whether d and e have the same members with the same values.
func (d *document) equal(e *document) bool {
	if len(d.members) != len(e.members) {
		return false
	}
	for i, m := range d.members {
		if m.name != e.members[i].name || !bytes.Equal(m.value, e.members[i].value) {
			return false
		}
	}
	return true
}

// marshal encodes v as other SDKs do: characters special to HTML stay as they are.
func marshal(v any) (json.RawMessage, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// sameJSON reports whether two values are the same but for white space
// between tokens. Encoded, the output of marshal, has none.
func sameJSON(encoded, stored json.RawMessage) bool {
	if bytes.Equal(encoded, stored) {
		return true
	}
	var buf bytes.Buffer
	return json.Compact(&buf, stored) == nil && bytes.Equal(buf.Bytes(), encoded)
}
