// Package redact keeps the names of conversations and users out of logs.
package redact

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// Hash returns 16 hex digits that stand for a storage key, or the beginning of
// one, in either form of keys.
func Hash(key string) string {
	h := fnv.New64a()
	h.Write([]byte(strings.TrimSuffix(key, "/")))
	return fmt.Sprintf("%016x", h.Sum64())
}

// Text returns text with hashes in the place of keys, whether they are quoted or
// not. Empty keys are left out.
func Text(text string, keys ...string) string {
	for _, key := range keys {
		if key == "" {
			continue
		}
		quoted := strconv.Quote(key)
		text = strings.NewReplacer(key, Hash(key), quoted[1:len(quoted)-1], Hash(key)).Replace(text)
	}
	return text
}
