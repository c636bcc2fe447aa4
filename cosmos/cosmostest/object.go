package cosmostest

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// An object is a JSON object whose members keep their order and, but for white
// space, their bytes.
type object []member

type member struct {
	name  string
	value json.RawMessage
}

// parseObject returns the object in data, and false if there is none.
func parseObject(data []byte) (object, bool) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	o := object{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, false
		}
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return nil, false
		}
		var compact bytes.Buffer
		_ = json.Compact(&compact, value) // it has been decoded, so it is valid
		o.set(name.(string), compact.Bytes())
	}
	if _, err := dec.Token(); err != nil || len(bytes.TrimSpace(data[dec.InputOffset():])) > 0 {
		return nil, false
	}
	return o, true
}

func (o object) index(name string) int {
	return slices.IndexFunc(o, func(m member) bool { return m.name == name })
}

// get returns the value of a member, nil if there is none.
func (o object) get(name string) json.RawMessage {
	if i := o.index(name); i >= 0 {
		return o[i].value
	}
	return nil
}

// set changes a member in its place or adds it at the end.
func (o *object) set(name string, value json.RawMessage) {
	if i := o.index(name); i >= 0 {
		(*o)[i].value = value
		return
	}
	*o = append(*o, member{name, value})
}

func (o *object) delete(names ...string) {
	*o = slices.DeleteFunc(*o, func(m member) bool { return slices.Contains(names, m.name) })
}

func (o object) encode() []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(toJSON(m.name))
		b.WriteByte(':')
		b.Write(m.value)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// toJSON encodes what can be encoded without fail.
func toJSON(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("cosmostest: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func jsonReply(status int, v any) *reply { return newReply(status, toJSON(v)) }

// depth returns how many levels of objects and arrays valid JSON has.
func depth(data []byte) int {
	level, deepest, inString := 0, 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{', c == '[':
			level++
			deepest = max(deepest, level)
		case c == '}', c == ']':
			level--
		}
	}
	return deepest
}

// parsePath splits a path of container definitions such as /a/"b c"/d, and
// returns nil if it is none.
func parsePath(path string) []string {
	rest, ok := strings.CutPrefix(path, "/")
	var names []string
	for ok && rest != "" {
		var name string
		if rest[0] == '"' {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil
			}
			name, _ = strconv.Unquote(quoted)
			rest = rest[len(quoted):]
			if rest != "" && rest[0] != '/' {
				return nil
			}
			rest = strings.TrimPrefix(rest, "/")
		} else {
			name, rest, _ = strings.Cut(rest, "/")
		}
		if name == "" {
			return nil
		}
		names = append(names, name)
	}
	return names
}
