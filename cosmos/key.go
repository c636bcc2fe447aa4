package cosmos

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/botlapse/botlapse/state"
)

const (
	// maxID is the length at which the official SDKs cut ids, in UTF-16 code
	// units.
	maxID = 255

	// maxIDBytes is the length of the longest id that the service takes.
	maxIDBytes = 1023
)

// itemID returns the id under which the item of a key is stored.
func (s *Storage) itemID(key string) (string, error) {
	if key == "" {
		return "", fmt.Errorf("%w: empty key", state.ErrInvalid)
	}
	if !utf8.ValidString(key) {
		return "", fmt.Errorf("%w: the key is not UTF-8", state.ErrInvalid)
	}
	id := escape(key) + s.options.KeySuffix
	if s.options.KeySuffix == "" {
		id = cut(id)
	}
	if len(id) > maxIDBytes {
		return "", fmt.Errorf("%w: the key makes an id of %d bytes, the service takes %d", state.ErrInvalid, len(id), maxIDBytes)
	}
	return id, nil
}

// escape replaces the characters that an id must not have. Those of the .NET
// and JavaScript SDKs are replaced as they do it. Others that either the
// service or azcosmos cannot take are replaced by *u and six hex digits.
func escape(key string) string {
	var b strings.Builder
	for i, c := range key {
		switch {
		case strings.ContainsRune(`\?/#*`, c):
			fmt.Fprintf(&b, "*%02x", c)
		case c == '\t' || c == '\n' || c == '\r':
			fmt.Fprintf(&b, "*%x", c)
		case c < 0x20, c >= 0x7f && c < 0xa0, c == '%', c == '\u2028', c == '\u2029', c > 0xffff,
			c == ' ' && i == len(key)-1, c == '.' && strings.Trim(key, ".") == "":
			fmt.Fprintf(&b, "*u%06x", c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// cut shortens an id that is too long as the .NET SDK does: to what fits beside
// a hash of the whole, in hex.
func cut(id string) string {
	units := utf16.Encode([]rune(id))
	if len(units) <= maxID {
		return id
	}
	h1, h2 := int32(5381<<16+5381), int32(5381<<16+5381)
	for i, u := range units {
		if i%2 == 0 {
			h1 = (h1<<5 + h1) ^ int32(u)
		} else {
			h2 = (h2<<5 + h2) ^ int32(u)
		}
	}
	hash := strconv.FormatUint(uint64(uint32(h1+h2*1566083941)), 16)
	return string(utf16.Decode(units[:maxID-len(hash)])) + hash
}
