package cosmos

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// maxRecent is how many values a recent keeps at most.
const maxRecent = 10000

// A recent is a map of those values that were used last. When there are too many
// new ones, the old ones are dropped, and the new ones become the old ones.
type recent[V any] struct {
	mu       sync.Mutex
	new, old map[string]V
}

// get returns the value of a key, and makes it one of those used last.
func (r *recent[V]) get(key string) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.new[key]
	if !ok {
		if v, ok = r.old[key]; ok {
			r.keep(key, v)
		}
	}
	return v, ok
}

func (r *recent[V]) set(key string, v V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep(key, v)
}

// keep makes v one of the new ones. The caller holds r.mu.
func (r *recent[V]) keep(key string, v V) {
	if r.new == nil || len(r.new) >= maxRecent/2 {
		r.new, r.old = make(map[string]V), r.new
	}
	r.new[key] = v
}

func (r *recent[V]) forget(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.new, key)
	delete(r.old, key)
}

// sessions are the session tokens of writes, by partition.
type sessions struct{ recent[string] }

// learn keeps the token of a write. One that was refused has it too: what it was
// refused for is to be seen by the next read.
func (s *sessions) learn(partition string, token *string, err error) {
	var refused *azcore.ResponseError
	switch {
	case err == nil && token != nil:
		s.advance(partition, *token)
	case errors.As(err, &refused) && refused.RawResponse != nil &&
		(refused.StatusCode == http.StatusPreconditionFailed || refused.StatusCode == http.StatusConflict || isAbsent(err)):
		s.advance(partition, refused.RawResponse.Header.Get("x-ms-session-token"))
	}
}

// advance keeps a token, unless there is a later one: of writes to the same
// partition at the same time, the answers come in any order.
func (s *sessions) advance(partition, token string) {
	if token == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.new[partition]
	if !ok {
		known = s.old[partition]
	}
	if isEarlier(token, known) {
		token = known
	}
	s.keep(partition, token)
}

// token returns the token that a read of the partition must send, nil for none.
func (s *sessions) token(partition string) *string {
	token, ok := s.get(partition)
	if !ok {
		return nil
	}
	return &token
}

// isEarlier reports whether a token is of an earlier write than another one. A token
// looks like 0:1#12: a range of partitions, the version of the range, and the number
// of the write. Tokens of different ranges, or of another form, cannot be compared;
// then isEarlier reports false.
func isEarlier(token, than string) bool {
	a, b := strings.FieldsFunc(token, isTokenMark), strings.FieldsFunc(than, isTokenMark)
	if len(a) < 3 || len(b) < 3 || a[0] != b[0] {
		return false
	}
	for i := 1; i < 3; i++ {
		m, err1 := strconv.ParseInt(a[i], 10, 64)
		n, err2 := strconv.ParseInt(b[i], 10, 64)
		if err1 != nil || err2 != nil || m != n {
			return err1 == nil && err2 == nil && m < n
		}
	}
	return false
}

func isTokenMark(c rune) bool { return c == ':' || c == '#' }
