package cosmos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/botlapse/botlapse/state"
)

// errNoAnswer reports that an attempt took too long.
var errNoAnswer = errors.New("no answer in time")

// errUnreachable reports that the account could not be reached.
var errUnreachable = errors.New("the account cannot be reached")

// ErrTooLarge reports a document that is larger than the service takes, 2 MB. It
// wraps [state.ErrInvalid].
var ErrTooLarge = fmt.Errorf("%w: document too large", state.ErrInvalid)

// A StatusError reports a request that the service refused.
type StatusError struct {
	Status    int // the HTTP status
	Substatus int // the header x-ms-substatus, 0 if there was none

	// Err is azcosmos's error. Its text has the address, the id and the answer.
	Err error
}

// Error returns the status, the substatus, and what they mean.
func (e *StatusError) Error() string {
	text := "status " + strconv.Itoa(e.Status)
	if e.Substatus != 0 {
		text += "/" + strconv.Itoa(e.Substatus)
	}
	switch {
	case e.Status == http.StatusUnauthorized:
		return text + ": the key or the token is not accepted"
	case e.Status == http.StatusForbidden && e.Substatus == 5300:
		return text + ": an Entra ID identity may not manage databases and containers"
	case e.Status == http.StatusForbidden && e.Substatus == 5301:
		return text + ": the Entra ID identity may not read the account's metadata"
	case e.Status == http.StatusForbidden:
		return text + ": the key, the identity or the network has no right to this"
	}
	return text
}

// Unwrap returns Err.
func (e *StatusError) Unwrap() error { return e.Err }

// explain puts an error of azcosmos into words that can be logged.
func explain(err error) error {
	var explained *StatusError
	var refused *azcore.ResponseError
	var network *url.Error
	switch {
	case errors.As(err, &explained):
		return err
	case errors.As(err, &refused):
		return &StatusError{Status: refused.StatusCode, Substatus: substatusOf(err), Err: err}
	case errors.As(err, &network):
		return network.Err // without the address, which has the id
	}
	return err
}

// Retryable reports whether a request that failed with err may succeed if it
// is made again: the service was busy, or could not be reached. The methods of
// [Storage] and [Deadlines] have tried that several times before they return such
// an error.
func Retryable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrNoContainer) {
		return false
	}
	if errors.Is(err, errUnreachable) {
		refused := (*StatusError)(nil)
		return !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized && refused.Status != http.StatusForbidden
	}
	return isTransient(err)
}

// isTransient reports whether what failed with err may be tried again.
func isTransient(err error) bool {
	if status := statusOf(err); status != 0 {
		switch status {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, 449, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return status == http.StatusNotFound && substatusOf(err) == sessionNotAvailable
	}
	return isNetwork(err)
}

// isNetwork reports whether there was no answer, or half of one.
func isNetwork(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, errNoAnswer) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EPIPE) || errors.Is(err, context.DeadlineExceeded)
}

// isUnknown reports whether what failed with err may have been done.
func isUnknown(err error) bool {
	if statusOf(err) == http.StatusTooManyRequests || statusOf(err) == 449 {
		return false
	}
	return isTransient(err)
}

// statusOf returns the HTTP status of the answer, 0 if there was none.
func statusOf(err error) int {
	var explained *StatusError
	var refused *azcore.ResponseError
	switch {
	case errors.Is(err, errUnreachable): // its status is not that of an item
	case errors.As(err, &explained):
		return explained.Status
	case errors.As(err, &refused):
		return refused.StatusCode
	}
	return 0
}

// sessionNotAvailable is the substatus of a 404 that says nothing of the item:
// no replica that could be asked has caught up with the session token.
const sessionNotAvailable = 1002

// ownerNotFound is that of one whose container or database is gone.
const ownerNotFound = 1003

func substatusOf(err error) int {
	var refused *azcore.ResponseError
	if !errors.As(err, &refused) || refused.RawResponse == nil {
		return 0
	}
	n, _ := strconv.Atoi(refused.RawResponse.Header.Get("x-ms-substatus"))
	return n
}

// retryAfter returns how long the service asks to wait.
func retryAfter(err error) time.Duration {
	var refused *azcore.ResponseError
	if !errors.As(err, &refused) || refused.RawResponse == nil {
		return 0
	}
	ms, _ := strconv.Atoi(refused.RawResponse.Header.Get("x-ms-retry-after-ms"))
	return time.Duration(ms) * time.Millisecond
}

// tooLarge says how large.
func tooLarge(size int) error {
	return fmt.Errorf("%w: %d bytes, the service takes 2 MB", ErrTooLarge, size)
}
