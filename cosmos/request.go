package cosmos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"
)

const (
	// attempts is how often a request is made. Attempts that are refused with
	// status 429 do not count: such a request is made again for as long as
	// patience.
	attempts = 6
	patience = 30 * time.Second

	// persistence is how long a write of state is repeated that may have been
	// carried out, unless the context ends before: longer than a turn takes as a
	// rule. Made anew, it could not be told from somebody else's.
	persistence = 3 * time.Minute

	// Waits between attempts are random, up to baseWait, doubled each time up
	// to maxWait.
	baseWait = 100 * time.Millisecond
	maxWait  = 2 * time.Second

	// attemptTimeout bounds each attempt.
	attemptTimeout = 10 * time.Second
)

// An operation is one request. It returns the session token of what it has
// written, nil for what it has read: that may be older than what is known.
type operation func(ctx context.Context, c *azcosmos.ContainerClient) (token *string, err error)

// retry carries out an operation in a partition, as often as it takes. Unknown
// says that one of the attempts that failed may have been carried out. Then a
// persistent operation is not bound by the number of attempts.
func (c *container) retry(ctx context.Context, partition string, persistent bool, do operation) (unknown bool, err error) {
	begin, limit := time.Now(), baseWait
	for attempt := 1; ; {
		token, maybe, err := c.try(ctx, do)
		c.sessions.learn(partition, token, err)
		if err == nil {
			return unknown, nil
		}
		unknown = unknown || maybe
		err = explain(err)
		if ctx.Err() != nil {
			return unknown, because(err, ctx.Err())
		}
		err = notDeadline(err)
		wait := max(retryAfter(err), rand.N(limit))
		limit = min(2*limit, maxWait)
		switch {
		case !isTransient(err) || errors.Is(err, errUnreachable): // which was tried for long enough
			return unknown, err
		case statusOf(err) == http.StatusTooManyRequests:
			if time.Since(begin)+wait > patience {
				return unknown, err
			}
		default:
			persists := persistent && unknown && time.Since(begin)+wait < persistence
			if attempt++; attempt > attempts && !persists {
				return unknown, err
			}
			if substatusOf(err) == sessionNotAvailable && attempt == attempts {
				c.sessions.forget(partition) // which may be of a container that was made anew
			}
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
			return unknown, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return unknown, because(err, ctx.Err())
		}
	}
}

// because adds the error of a context to one that it led to, unless it is there.
func because(err, cause error) error {
	if errors.Is(err, cause) {
		return cause
	}
	return fmt.Errorf("%w: %w", cause, err)
}

// try carries out an operation once.
func (c *container) try(ctx context.Context, do operation) (token *string, unknown bool, err error) {
	account, err := c.account.connect(ctx)
	if err != nil {
		return nil, false, err
	}
	client, err := account.NewContainer(c.database, c.name)
	if err != nil {
		return nil, false, err
	}
	l, err := c.locate(ctx, client)
	if err != nil {
		return nil, false, err
	}
	if l == legacy {
		ctx = context.WithValue(ctx, legacyKey{}, true)
	}
	var sends atomic.Int32
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, sendsKey{}, &sends), attemptTimeout)
	defer cancel()
	token, err = do(ctx, client)
	unknown = err != nil && (isUnknown(err) || ctx.Err() != nil || sends.Load() > 1) // azcosmos repeats some too
	if statusOf(err) == http.StatusNotFound && substatusOf(err) == ownerNotFound {
		c.mu.Lock()
		c.layout = unknownLayout
		c.mu.Unlock()
		return token, unknown, fmt.Errorf("%w: container %q in database %q is gone: %w", ErrNoContainer, c.name, c.database, explain(err))
	}
	return token, unknown, err
}

// locate finds out where the container has the partition key, once.
func (c *container) locate(ctx context.Context, client *azcosmos.ContainerClient) (layout, error) {
	c.mu.Lock()
	l := c.layout
	c.mu.Unlock()
	if l != unknownLayout {
		return l, nil
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	resp, err := client.Read(ctx, nil)
	switch {
	case statusOf(err) == http.StatusNotFound:
		return l, fmt.Errorf("%w: there is no container %q in database %q: %w", ErrNoContainer, c.name, c.database, explain(err))
	case statusOf(err) == http.StatusForbidden:
		l = partitioned // it may be used, but not looked at
	case err != nil:
		return l, err
	default:
		if l, err = c.fits(resp.ContainerProperties); err != nil {
			return l, fmt.Errorf("container %q: %w", c.name, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.layout = l
	return l, nil
}

// ErrNoContainer reports that the container or its database does not exist. An
// [Initializer] makes them.
var ErrNoContainer = errors.New("no such container")

// isAbsent reports whether what was asked for does not exist.
func isAbsent(err error) bool {
	return statusOf(err) == http.StatusNotFound && substatusOf(err) != sessionNotAvailable && !errors.Is(err, ErrNoContainer)
}
