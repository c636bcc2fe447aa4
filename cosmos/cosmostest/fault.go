package cosmostest

import (
	"context"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"
)

// A Fault says how to spoil a request. The zero Fault leaves it alone. If
// several of Hang, Reset and Status are set, the first of them counts.
type Fault struct {
	// Delay is how long the request is held up before anything else happens
	// to it.
	Delay time.Duration

	// Hang leaves the request without an answer until its client gives up: in
	// process when its context ends, on a socket when the client disconnects.
	Hang bool

	// Reset breaks the connection instead of answering. In process the client
	// gets an error that is [syscall.ECONNRESET].
	Reset bool

	// Status is what the request is answered with, such as 429, 449 or 503.
	Status int

	// Substatus is the header x-ms-substatus that goes with Status, such as
	// 5300 with 403 or 3200 with 429.
	Substatus int

	// RetryAfter is the header x-ms-retry-after-ms that goes with Status.
	RetryAfter time.Duration

	// Committed lets the request take effect, and then spoils its answer.
	Committed bool
}

// apply answers a request by serve, unless f says otherwise.
func (f Fault) apply(ctx context.Context, serve func() *reply) (*reply, error) {
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !f.Hang && !f.Reset && f.Status == 0 {
		return serve(), nil
	}
	if f.Committed {
		serve()
	}
	switch {
	case f.Hang:
		<-ctx.Done()
		return nil, ctx.Err()
	case f.Reset:
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	}
	r := failed(fail(f.Status, "cosmostest: a fault of the test").sub(f.Substatus))
	r.header.Set("x-ms-request-charge", "0.00")
	r.header.Set("Content-Type", "application/json")
	if f.RetryAfter > 0 {
		r.header.Set("x-ms-retry-after-ms", strconv.FormatInt(f.RetryAfter.Milliseconds(), 10))
	}
	return r, nil
}

// disconnect ends a request of a socket without an answer.
func disconnect(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2: this resets the stream
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // reset rather than close in good order
	}
	_ = conn.Close()
}
