// Package redact keeps the names of conversations and users out of logs.
package redact

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"sync/atomic"
)

// key is that of the hashes; nil is the empty key.
var key atomic.Pointer[[]byte]

// SetKey sets the secret that hashes depend on. It must come before the first hash.
func SetKey(secret []byte) {
	sum := sha256.Sum256(append([]byte("botlapse log\x00"), secret...))
	derived := sum[:]
	key.Store(&derived)
}

// Hash returns 16 hex digits that stand for a storage key, or the beginning of
// one, in either form of keys.
func Hash(name string) string {
	var secret []byte
	if k := key.Load(); k != nil {
		secret = *k
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(strings.TrimSuffix(name, "/")))
	return hex.EncodeToString(mac.Sum(nil)[:8])
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
