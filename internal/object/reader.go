package object

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds of a text that a Reader reads, because a few bytes of JSON can take
// far more memory than their sender has spent on them.
const (
	maxDepth  = 100   // levels of objects and arrays
	maxValues = 10000 // members and elements, in all objects and arrays
)

// A Reader reads a JSON text that comes from outside, once and from front to
// back.
//
// Names are exact. In an object that [Reader.Members] reads, a known name must
// not be there twice, nor beside another spelling of itself, such as "ID"
// beside "id", because other programs would go by the other one. Another
// spelling alone is an unknown name.
//
// null is the zero value of every type. After an error all values are zero;
// [Reader.End] returns the error.
type Reader struct {
	data   []byte
	pos    int
	check  bool // only ids are built
	depth  int
	values int
	path   [4]string // the known names that lead to pos
	level  int       // how many there are

	problem string // the first error, "" for none
	place   string // the path to it, "" if it is the whole text's
}

// An Error says what is wrong with a text. It has nothing of the text but
// names that are known.
type Error string

func (e Error) Error() string { return string(e) }

// NewReader returns a Reader of data.
func NewReader(data []byte) Reader { return Reader{data: data} }

// NewChecker returns a Reader that fails where that of NewReader does, but
// builds only ids: its texts and its values of any type are zero.
func NewChecker(data []byte) Reader { return Reader{data: data, check: true} }

// Checks reports whether the Reader is one of NewChecker.
func (r *Reader) Checks() bool { return r.check }

// End returns the first error, an [Error] about subject, which is what the text
// is. It is one if something is left to read.
func (r *Reader) End(subject string) error {
	if r.peek(); r.pos < len(r.data) {
		r.malformed()
	}
	switch {
	case r.problem == "":
		return nil
	case r.place == "":
		return Error(subject + " " + r.problem)
	}
	return Error(subject + "'s " + r.place + " " + r.problem)
}

// fail ends the reading because of the whole text.
func (r *Reader) fail(problem string) {
	if r.problem == "" {
		r.problem = problem
		r.pos = len(r.data)
	}
}

// failHere ends the reading because of the value that is being read.
func (r *Reader) failHere(problem string) {
	if r.problem == "" {
		r.place = strings.Join(r.path[:r.level], ".")
		r.fail(problem)
	}
}

func (r *Reader) malformed() { r.fail("is not JSON") }

// mismatch fails at a value of the wrong type.
func (r *Reader) mismatch() {
	var kind string
	switch c := r.peek(); {
	case c == '{':
		kind = "an object"
	case c == '[':
		kind = "an array"
	case c == '"':
		kind = "a string"
	case c == 't' || c == 'f':
		kind = "a bool"
	case c == 'n':
		kind = "null"
	case c == '-' || isDigit(c):
		kind = "a number"
	default:
		r.malformed()
		return
	}
	if r.level == 0 {
		r.fail("is no JSON object but " + kind)
	} else {
		r.failHere("cannot be " + kind)
	}
}

// peek skips white space and returns the byte that follows, 0 for none.
func (r *Reader) peek() byte {
	for ; r.pos < len(r.data); r.pos++ {
		if c := r.data[r.pos]; c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return c
		}
	}
	return 0
}

// word reads a word of which the first letter was seen.
func (r *Reader) word(word string) {
	if !bytes.HasPrefix(r.data[r.pos:], []byte(word)) {
		r.malformed()
		return
	}
	r.pos += len(word)
}

// null reads null if that is what follows.
func (r *Reader) null() bool {
	if r.peek() != 'n' {
		return false
	}
	r.word("null")
	return true
}

// begin enters an object or array.
func (r *Reader) begin(open byte) bool {
	if r.peek() != open {
		r.mismatch()
		return false
	}
	r.pos++
	if r.depth++; r.depth > maxDepth {
		r.fail("is nested more than " + strconv.Itoa(maxDepth) + " levels deep")
	}
	return r.problem == ""
}

// more goes to the next member or element, after n others, or leaves the
// object or array if there is none.
func (r *Reader) more(n int, closing byte) bool {
	switch c := r.peek(); {
	case c == closing:
		r.pos++
		r.depth--
		return false
	case n > 0 && c != ',':
		r.malformed()
	case n > 0:
		r.pos++
	}
	if r.values++; r.values > maxValues {
		r.fail("has more than " + strconv.Itoa(maxValues) + " members and elements")
	}
	return r.problem == ""
}

// Names are the names that are known in an object, by their length.
type Names [maxName + 1][]known

type known struct {
	name string
	bit  uint64 // its own one
}

// maxName is how long a known name can be, in bytes.
const maxName = 24

// NewNames returns Names: 64 at most, in ASCII.
func NewNames(names ...string) *Names {
	n := new(Names)
	for i, name := range names {
		n[len(name)] = append(n[len(name)], known{name, 1 << i})
	}
	return n
}

// find returns the known name that name is, exactly or in another spelling;
// nil if there is none. Spellings are those that encoding/json takes for the
// same name: to it, U+017F is an s, and U+212A a k.
func (n *Names) find(name []byte) (k *known, exact bool) {
	if len(name) <= maxName {
		for i := range n[len(name)] {
			if k := &n[len(name)][i]; k.name == string(name) {
				return k, true
			}
		}
	}
	if len(name) <= maxName*len("\u212a") {
		spelling := string(name)
		for _, names := range n {
			for i := range names {
				if k := &names[i]; strings.EqualFold(k.name, spelling) {
					return k, false
				}
			}
		}
	}
	return nil, false
}

// Members reads an object. It yields each name that is known, for its value to
// be read, and skips the other members.
func (r *Reader) Members(names *Names) func(yield func(name string) bool) {
	return func(yield func(string) bool) { r.members(names, yield) }
}

func (r *Reader) members(names *Names, yield func(string) bool) {
	if r.level > 0 && r.null() || !r.begin('{') {
		return
	}
	var seen, variants uint64 // the names that were there, exactly and otherwise
	for n := 0; r.more(n, '}'); n++ {
		k, exact := names.find(r.name())
		if k == nil {
			r.Skip()
			continue
		}
		r.path[r.level] = k.name
		r.level++
		switch {
		case exact && seen&k.bit != 0:
			r.failHere("is there twice")
		case exact && variants&k.bit != 0, !exact && seen&k.bit != 0:
			r.failHere("is there in two spellings")
		case exact:
			seen |= k.bit
			if !yield(k.name) {
				return
			}
		default:
			variants |= k.bit
			r.Skip()
		}
		r.level--
	}
}

// Entries reads an object in which any name may be. It yields each, for its
// value to be read.
func (r *Reader) Entries() func(yield func(name string) bool) {
	return func(yield func(string) bool) {
		if r.null() || !r.begin('{') {
			return
		}
		for n := 0; r.more(n, '}') && yield(string(r.name())); n++ {
		}
	}
}

// Elements reads an array. It yields for each element to be read.
func (r *Reader) Elements() func(yield func() bool) {
	return func(yield func() bool) {
		if r.null() || !r.begin('[') {
			return
		}
		for n := 0; r.more(n, ']') && yield(); n++ {
		}
	}
}

// name reads a name and its colon.
func (r *Reader) name() []byte {
	name, plain := r.quoted()
	if !plain {
		var valid bool
		if name, valid = unescape(name); !valid {
			r.failHere("has a name that is not valid Unicode")
		}
	}
	if r.peek() != ':' {
		r.malformed()
		return nil
	}
	r.pos++
	return name
}

// Text reads a string. It has U+FFFD for invalid UTF-8 and for lone surrogates,
// such as half an emoji where a channel has cut a text.
func (r *Reader) Text() string {
	if r.null() {
		return ""
	}
	s, plain := r.quoted()
	if r.check {
		return ""
	}
	if !plain {
		s, _ = unescape(s)
	}
	return string(s)
}

// ID reads a string that tells one thing from others. It must be valid Unicode,
// because with U+FFFD in them two could be the same.
func (r *Reader) ID() string {
	if r.null() {
		return ""
	}
	s, plain := r.quoted()
	if !plain {
		var valid bool
		if s, valid = unescape(s); !valid {
			r.failHere("is not valid Unicode")
			return ""
		}
	}
	return string(s)
}

// Bool reads a boolean.
func (r *Reader) Bool() bool {
	switch r.peek() {
	case 't':
		r.word("true")
		return r.problem == ""
	case 'f':
		r.word("false")
	case 'n':
		r.word("null")
	default:
		r.mismatch()
	}
	return false
}

// Float64 reads a number. One that is too large is an error.
func (r *Reader) Float64() float64 {
	if r.null() {
		return 0
	}
	f, err := strconv.ParseFloat(r.number(), 64)
	if err != nil {
		r.failHere("cannot be a number of that size")
		return 0
	}
	return f
}

// Int32 reads a number without fraction and exponent.
func (r *Reader) Int32() int32 {
	if r.null() {
		return 0
	}
	n, err := strconv.ParseInt(r.number(), 10, 32)
	if err != nil {
		r.failHere("must be an integer of 32 bits")
		return 0
	}
	return int32(n)
}

// number reads a number; it returns "0" if there is none.
func (r *Reader) number() string {
	if c := r.peek(); c != '-' && !isDigit(c) {
		r.mismatch()
		return "0"
	}
	start := r.pos
	for r.pos < len(r.data) && (isDigit(r.data[r.pos]) || strings.IndexByte("+-.eE", r.data[r.pos]) >= 0) {
		r.pos++
	}
	number := r.data[start:r.pos]
	if !json.Valid(number) {
		r.malformed()
		return "0"
	}
	return string(number)
}

// Any reads a value of any type as encoding/json does: numbers become float64,
// and of the members of an object that have one name the last one counts.
func (r *Reader) Any() any {
	switch r.peek() {
	case '{':
		var object map[string]any
		if !r.check {
			object = make(map[string]any)
		}
		if r.begin('{') {
			for n := 0; r.more(n, '}'); n++ {
				name := r.name()
				if r.check {
					r.Any()
				} else {
					name := string(name)
					object[name] = r.Any()
				}
			}
		}
		return object
	case '[':
		array := []any{}
		if r.begin('[') {
			for n := 0; r.more(n, ']'); n++ {
				if element := r.Any(); !r.check {
					array = append(array, element)
				}
			}
		}
		return array
	case '"':
		return r.Text()
	case 't', 'f':
		return r.Bool()
	case 'n':
		r.word("null")
		return nil
	}
	return r.Float64()
}

// Skip reads a value of any type and drops it.
func (r *Reader) Skip() {
	check := r.check
	r.check = true
	r.Any()
	r.check = check
}

// Raw reads a value of any type as it is written.
func (r *Reader) Raw() json.RawMessage {
	r.peek()
	start := r.pos
	if r.Skip(); r.problem != "" {
		return nil
	}
	return r.data[start:r.pos:r.pos]
}

// quoted reads a string and returns what is between its quotes. Plain is
// whether that is ASCII without escapes.
func (r *Reader) quoted() (s []byte, plain bool) {
	if r.peek() != '"' {
		r.mismatch()
		return nil, true
	}
	plain = true
	start := r.pos + 1
	for i := start; i < len(r.data); i++ {
		switch c := r.data[i]; {
		case !isSpecial[c]:
		case c == '"':
			r.pos = i + 1
			return r.data[start:i], plain
		case c >= utf8.RuneSelf:
			plain = false
		default:
			n := escapeLen(r.data[i:])
			if n == 0 {
				r.malformed()
				return nil, true
			}
			plain = false
			i += n - 1
		}
	}
	r.malformed()
	return nil, true
}

// isSpecial has the bytes that are not in plain strings.
var isSpecial = func() (is [256]bool) {
	for c := range is {
		is[c] = c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf
	}
	return is
}()

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// escapeLen returns the length of the escape that s begins with, 0 if it
// begins with none.
func escapeLen(s []byte) int {
	switch {
	case len(s) >= 2 && s[0] == '\\' && strings.IndexByte(`"\/bfnrt`, s[1]) >= 0:
		return 2
	case len(s) >= 6 && s[0] == '\\' && s[1] == 'u' && hex4(s[2:6]) >= 0:
		return 6
	}
	return 0
}

// hex4 returns the number that four hexadecimal digits stand for, -1 if they
// are none.
func hex4(digits []byte) (n rune) {
	for _, c := range digits {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		n = n<<4 | rune(c)
	}
	return n
}

// unescape returns the text of a string, given what is between its quotes.
// Valid is whether that is valid Unicode; where it is not, the text has U+FFFD.
func unescape(s []byte) (text []byte, valid bool) {
	if bytes.IndexByte(s, '\\') < 0 && utf8.Valid(s) {
		return s, true
	}
	text, valid = make([]byte, 0, len(s)), true
	for len(s) > 0 {
		c, n := rune(s[0]), 1
		switch {
		case c >= utf8.RuneSelf:
			c, n = utf8.DecodeRune(s)
			valid = valid && (c != utf8.RuneError || n > 1)
		case c == '\\' && s[1] == 'u':
			c, n = hex4(s[2:6]), 6
			if utf16.IsSurrogate(c) {
				low := rune(-1)
				if escapeLen(s[n:]) == 6 {
					low = hex4(s[n+2 : n+6])
				}
				if c = utf16.DecodeRune(c, low); c == utf8.RuneError {
					valid = false
				} else {
					n = 12
				}
			}
		case c == '\\':
			c, n = rune(s[1]), 2
			if i := strings.IndexByte("bfnrt", s[1]); i >= 0 {
				c = rune("\b\f\n\r\t"[i])
			}
		}
		text = utf8.AppendRune(text, c)
		s = s[n:]
	}
	return text, valid
}
