package bottest

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/infracloudio/msbotbuilder-go/core"

	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/statetest"
)

// A Program is the bot under test. It is called once for each process, and
// returns the bot's messaging endpoint and the function that ends the process
// in order; nil if nothing has to end.
//
// Base is what the bot sends through. It is a [*Process], of which programs
// that keep state beyond a process, or send over HTTP, make use by a type
// assertion.
type Program func(base core.Adapter) (handler http.Handler, close func(context.Context) error)

// A Process is one run of a [Program]. It is the channel as this process has
// it. It takes steps: each activity that it sends, and each call of a storage or
// of deadlines that it got by [Process.Storage] or [Process.Deadlines], is one.
// Once it has ended, whatever it tries fails and has no effect. A step that it
// was taking then, such as a send to a slow channel, may still have one.
type Process struct {
	Channel
	handler http.Handler
	stop    func(context.Context) error
	stopped bool

	mu   sync.Mutex
	left int // how many steps it may take, -1 for any number
}

var errEnded = errors.New("bottest: the process has ended")

// start starts a process on a channel.
func start(program Program, c *Channel) *Process {
	p := &Process{left: -1}
	p.step, p.log = p.next, c.shared()
	p.handler, p.stop = program(p)
	return p
}

// next takes a step, unless the process has ended.
func (p *Process) next() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.left == 0:
		return errEnded
	case p.left > 0:
		p.left--
	}
	return nil
}

// do does something that is a step.
func (p *Process) do(f func() error) error {
	if err := p.next(); err != nil {
		return err
	}
	return f()
}

func (p *Process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.left != 0
}

// kill has the process end after n steps.
func (p *Process) kill(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = n
}

// Storage returns s as this process uses it: each call is a step. Several
// processes may share s.
func (p *Process) Storage(s state.Storage) state.Storage {
	return &statetest.Faults{Storage: s, Before: func(context.Context, statetest.Call) error { return p.next() }}
}

// Deadlines returns s as this process uses it: each call is a step, but for
// those by which it looks in vain. Several processes may share s.
func (p *Process) Deadlines(s deadline.Store) deadline.Store { return &deadlines{s, p} }
