package cosmos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"
)

const (
	// attempts is how often a request is made, but for those that are refused
	// with status 429, which are repeated until the context ends, for
	// patience at most.
	attempts = 6
	patience = 30 * time.Second

	// Waits between attempts are random, up to baseWait, doubled each time up
	// to maxWait.
	baseWait = 100 * time.Millisecond
	maxWait  = 2 * time.Second

	// attemptTimeout bounds each attempt.
	attemptTimeout = 10 * time.Second
)

// A layout is where the container has the partition key.
type layout int

const (
	unknownLayout layout = iota
	byID
	legacy // without: the container is from before there were partitions
)

// An operation is one request for an item.
type operation func(ctx context.Context, c *azcosmos.ContainerClient, o *azcosmos.ItemOptions) (azcosmos.ItemResponse, error)

// retry carries out an operation on the item called id, as often as it takes.
func (s *Storage) retry(ctx context.Context, id string, do operation, resp *azcosmos.ItemResponse) error {
	begin, limit := time.Now(), baseWait
	for attempt := 1; ; {
		r, err := s.try(ctx, do)
		if len(r.Value) == 0 { // not of a read, which may be older than what is known
			s.sessions.learn(id, r, err)
		}
		if err == nil {
			if resp != nil {
				*resp = r
			}
			return nil
		}
		err = explain(err)
		if ctx.Err() != nil {
			return because(err, ctx.Err())
		}
		err = notDeadline(err)
		wait := max(retryAfter(err), rand.N(limit))
		limit = min(2*limit, maxWait)
		switch {
		case !isTransient(err) || errors.Is(err, errUnreachable): // which was tried for long enough
			return err
		case statusOf(err) == http.StatusTooManyRequests:
			if time.Since(begin)+wait > patience {
				return err
			}
		default:
			if attempt++; attempt > attempts {
				return err
			}
			if substatusOf(err) == sessionNotAvailable && attempt == attempts {
				s.sessions.forget(id) // which may be of a container that was made anew
			}
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return because(err, ctx.Err())
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
func (s *Storage) try(ctx context.Context, do operation) (azcosmos.ItemResponse, error) {
	client, err := s.account.connect(ctx)
	if err != nil {
		return azcosmos.ItemResponse{}, err
	}
	c, err := client.NewContainer(s.database, s.container)
	if err != nil {
		return azcosmos.ItemResponse{}, err
	}
	l, err := s.locate(ctx, c)
	if err != nil {
		return azcosmos.ItemResponse{}, err
	}
	if l == legacy {
		ctx = context.WithValue(ctx, legacyKey{}, true)
	}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, sendsKey{}, new(atomic.Int32)), attemptTimeout)
	defer cancel()
	resp, err := do(ctx, c, &azcosmos.ItemOptions{})
	if statusOf(err) == http.StatusNotFound && substatusOf(err) == ownerNotFound {
		s.mu.Lock()
		s.layout = unknownLayout
		s.mu.Unlock()
		return resp, fmt.Errorf("%w: container %q in database %q is gone: %w", ErrNoContainer, s.container, s.database, explain(err))
	}
	return resp, err
}

// locate finds out where the container has the partition key, once.
func (s *Storage) locate(ctx context.Context, c *azcosmos.ContainerClient) (layout, error) {
	s.mu.Lock()
	l := s.layout
	s.mu.Unlock()
	if l != unknownLayout {
		return l, nil
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	resp, err := c.Read(ctx, nil)
	switch {
	case statusOf(err) == http.StatusNotFound:
		return l, fmt.Errorf("%w: there is no container %q in database %q: %w", ErrNoContainer, s.container, s.database, explain(err))
	case statusOf(err) == http.StatusForbidden:
		l = byID // it may be used, but not looked at
	case err != nil:
		return l, err
	default:
		switch paths := resp.ContainerProperties.PartitionKeyDefinition.Paths; {
		case len(paths) == 1 && paths[0] == "/id":
			l = byID
		case len(paths) == 1 && paths[0] == "/_partitionKey", len(paths) == 0:
			l = legacy
		default:
			return l, fmt.Errorf("cosmos: container %q has the partition key %s: it must be /id", s.container, strings.Join(paths, ", "))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.layout = l
	return l, nil
}

// ErrNoContainer reports that the container or its database does not exist. An
// [Initializer] makes them.
var ErrNoContainer = errors.New("no such container")

// isAbsent reports whether what was asked for does not exist.
func isAbsent(err error) bool {
	return statusOf(err) == http.StatusNotFound && substatusOf(err) != sessionNotAvailable && !errors.Is(err, ErrNoContainer)
}
