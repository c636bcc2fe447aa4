package bot

import (
	"context"
	"fmt"
	"runtime/debug"
)

// A PanicError is the error of a turn in which a handler or middleware
// panicked.
type PanicError struct {
	Value any    // what panic was called with
	Stack []byte // the stack of the goroutine, as debug.Stack formats it
}

// Error returns the value. The stack is not part of it.
func (e *PanicError) Error() string {
	return fmt.Sprintf("bot: panic in a turn: %v", e.Value)
}

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// recovering turns a panic into the turn's error, a *PanicError.
func recovering(next Handler) Handler {
	return func(ctx context.Context, turn *Turn) (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = &PanicError{v, debug.Stack()}
			}
		}()
		return next(ctx, turn)
	}
}
