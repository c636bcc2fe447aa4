package cosmos

import (
	"errors"
	"net/http"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"
)

// maxSessions is of how many items the session tokens are kept, those that were
// used last.
const maxSessions = 10000

// sessions are the session tokens of writes, by the ids of the items. When
// there are too many new ones, the old ones are dropped, and the new ones become
// the old ones.
type sessions struct {
	mu       sync.Mutex
	new, old map[string]string
}

// learn keeps the token of an answer to a write. One that was refused has it
// too: what it was refused for is to be seen by the next read.
func (s *sessions) learn(id string, resp azcosmos.ItemResponse, err error) {
	var token string
	var refused *azcore.ResponseError
	switch {
	case err == nil && resp.SessionToken != nil:
		token = *resp.SessionToken
	case errors.As(err, &refused) && refused.RawResponse != nil &&
		(refused.StatusCode == http.StatusPreconditionFailed || refused.StatusCode == http.StatusConflict || isAbsent(err)):
		token = refused.RawResponse.Header.Get("x-ms-session-token")
	}
	if token == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep(id, token)
}

// keep makes id one of those that were used last. The caller holds s.mu.
func (s *sessions) keep(id, token string) {
	if s.new == nil || len(s.new) >= maxSessions/2 {
		s.new, s.old = make(map[string]string), s.new
	}
	s.new[id] = token
}

// token returns the token that a read of the item must send, nil for none.
func (s *sessions) token(id string) *string {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, ok := s.new[id]
	if !ok {
		if token, ok = s.old[id]; !ok {
			return nil
		}
		s.keep(id, token)
	}
	return &token
}

func (s *sessions) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.new, id)
	delete(s.old, id)
}
