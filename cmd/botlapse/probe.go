package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"
)

const (
	// readyTimeout is how long it may take to check whether the bot is ready.
	readyTimeout = 5 * time.Second

	// readyFor is how long its result holds: anybody may ask.
	readyFor = time.Second
)

// A probe answers whether the bot is ready.
type probe struct {
	logger *slog.Logger
	base   func(context.Context) error   // asks no store
	reads  []func(context.Context) error // each reads once from one store

	checking chan struct{} // holds a value while somebody checks, for whom the rest is
	at       time.Time     // when the last check ended
	err      error         // its result
	read     int           // how many reads have succeeded
}

func newProbe(logger *slog.Logger, base func(context.Context) error, reads ...func(context.Context) error) *probe {
	return &probe{logger: logger, base: base, reads: reads, checking: make(chan struct{}, 1)}
}

func (p *probe) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case p.checking <- struct{}{}:
	case <-r.Context().Done():
		return
	}
	if time.Since(p.at) >= readyFor {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), readyTimeout)
		p.err = p.check(ctx)
		cancel()
		p.at = time.Now()
		if p.err != nil {
			p.logger.Warn("not ready", "error", p.err)
		}
	}
	err := p.err
	<-p.checking
	if err != nil {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ready\n")
}

// check reads from one store, because reads cost money and anybody may ask: from
// the next one each time, and from one that fails until it does not. Only the
// first round is made at once, so that the first answer is about all stores.
func (p *probe) check(ctx context.Context) error {
	if err := p.base(ctx); err != nil {
		return err
	}
	for {
		if err := p.reads[p.read%len(p.reads)](ctx); err != nil {
			return err
		}
		if p.read++; p.read >= len(p.reads) {
			return nil
		}
	}
}
