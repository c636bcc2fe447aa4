package cosmostest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The writes to a container have log sequence numbers (LSN). A session token
// names the latest that its client knows of, after the one physical partition
// that there is: "0:-1#17".

// sessionToken returns the token that goes with the answer to c.
func (s *Server) sessionToken(c *call) string {
	var lsn int64
	if d := s.databases[c.Database]; d != nil && d.containers[c.Container] != nil {
		lsn = d.containers[c.Container].lsn
	}
	return fmt.Sprintf("0:-1#%d", lsn)
}

// parseSessionToken returns the LSN of a token. It takes the lists of tokens
// that some SDKs send, and the form without a version.
func parseSessionToken(token string) (lsn int64, err error) {
	for part := range strings.SplitSeq(token, ",") {
		_, vector, ok := strings.Cut(part, ":")
		fields := strings.Split(vector, "#")
		n, err := strconv.ParseInt(fields[min(1, len(fields)-1)], 10, 64)
		if !ok || err != nil {
			return 0, fail(http.StatusBadRequest, "The session token provided %q is invalid.", token)
		}
		lsn = max(lsn, n)
	}
	return lsn, nil
}

// A commit is a write that the replica has not seen.
type commit struct {
	lsn int64
	at  time.Time
}

// catchUp lets writes reach the replica that is lag behind.
func (co *container) catchUp(now time.Time, lag time.Duration) {
	for len(co.pending) > 0 && now.Sub(co.pending[0].at) >= lag {
		co.applied = co.pending[0].lsn
		co.pending = co.pending[1:]
	}
}

// horizon returns the LSN of the latest write that c, a read, gets to see.
func (s *Server) horizon(c *call, co *container) (int64, error) {
	co.catchUp(c.now, s.Lag)
	token := c.Header.Get("x-ms-session-token")
	switch level := c.Header.Get("x-ms-consistency-level"); level {
	case "", "Session":
	case "Eventual", "ConsistentPrefix":
		token = ""
	default:
		return 0, fail(http.StatusBadRequest, "ConsistencyLevel %s specified in the request is invalid when service is configured with consistency level Session. Ensure the request consistency level is not stronger than the service consistency level.", level)
	}
	if token == "" {
		return co.applied, nil
	}
	lsn, err := parseSessionToken(token)
	if err != nil {
		return 0, err
	}
	if lsn > co.lsn {
		return 0, fail(http.StatusNotFound, "The read session is not available for the input session token.").sub(1002)
	}
	return max(co.applied, lsn), nil
}
