package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"
)

const (
	// readyTimeout is how long a look whether the bot is ready may take.
	readyTimeout = 5 * time.Second

	// readyFor is how long its result holds: anybody may ask.
	readyFor = time.Second
)

// A probe answers whether the bot is ready.
type probe struct {
	logger *slog.Logger
	look   func(context.Context) error

	looking chan struct{} // holds a value while somebody looks, for whom the rest is
	at      time.Time     // when the last look ended
	err     error         // its result
}

func newProbe(logger *slog.Logger, look func(context.Context) error) *probe {
	return &probe{logger: logger, look: look, looking: make(chan struct{}, 1)}
}

func (p *probe) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case p.looking <- struct{}{}:
	case <-r.Context().Done():
		return
	}
	if time.Since(p.at) >= readyFor {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), readyTimeout)
		p.err = p.look(ctx)
		cancel()
		p.at = time.Now()
		if p.err != nil {
			p.logger.Warn("not ready", "error", p.err)
		}
	}
	err := p.err
	<-p.looking
	if err != nil {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ready\n")
}
