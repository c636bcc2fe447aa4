package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/botlapse/botlapse/connector"
)

// stopTimeout is how long running turns may take to end when the server stops.
const stopTimeout = 15 * time.Second

const playground = "npx @microsoft/m365agentsplayground@0.2.28 start -e %s -c emulator"

func (p *program) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Serve the bot on POST /api/messages",
		Long:  "Serve the bot on POST /api/messages until SIGINT or SIGTERM, then finish\nrunning turns and exit.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := loadConfig(p.lookup, p.envFile)
			if err := errors.Join(err, c.forServing()); err != nil {
				return err
			}
			return p.serve(cmd.Context(), c)
		},
	}
}

func (p *program) logger(c *config) *slog.Logger {
	return slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: c.logLevel}))
}

// serve runs the server until ctx is done.
func (p *program) serve(ctx context.Context, c *config) error {
	logger := p.logger(c)
	options := &connector.Options{
		AllowUnauthenticated: c.allowUnauthenticated,
		AllowedHosts:         c.allowedHosts,
		OperationsPerHour:    c.operationsPerHour,
		Transport:            p.transport,
		Logger:               logger,
	}
	if c.app.ID != "" {
		options.App = &c.app
	}
	base, err := connector.New(options)
	if err != nil {
		return err
	}
	defer base.Close()
	kept, file, err := c.openLocal()
	if err != nil {
		return err
	}
	defer file.Close()
	if c.cosmos.endpoint != "" {
		account, err := c.cosmos.account(p.cosmosTransport)
		if err != nil {
			return err
		}
		defer account.Close()
		c.warnOfShortLife(logger)
		if c.cosmos.initialize {
			i := c.initializer(account)
			i.Report = func(step string) { logger.Info("cosmos", "did", step) }
			if err := i.Run(ctx); err != nil {
				return err
			}
		}
		kept = c.cosmosStorages(account)
	}
	measured, err := metrics()
	if err != nil {
		return err
	}
	served, err := newBot(base, kept, c, logger)
	if err != nil {
		return err
	}

	mux := http.NewServeMux()
	mux.Handle("/api/messages", served.adapter.HTTPHandler(served.handle))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok\n") })
	mux.Handle("GET /metrics", measured)
	mux.Handle("GET /readyz", newProbe(logger, base.Ready, kept.reads()...))
	server := &http.Server{
		Handler:           mux,
		TLSConfig:         c.tls,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      3 * time.Minute, // an invoke is answered at the end of its turn
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(c.host, strconv.Itoa(c.port)))
	if err != nil {
		return fmt.Errorf("HOST %s and PORT %d: %w", c.host, c.port, err)
	}
	scheme, serve := "http", func() error { return server.Serve(listener) }
	if c.tls != nil {
		scheme, serve = "https", func() error { return server.ServeTLS(listener, "", "") }
	}
	url := scheme + "://" + listener.Addr().String() + "/api/messages"
	fmt.Fprintf(p.stdout, "listening on %s\n", url)
	if options.App == nil {
		fmt.Fprintf(p.stdout, "to try it: "+playground+"\n", url)
	}
	logger.Info("serving", "url", url, "expireAfter", c.expireAfter, "app", c.app.ID)

	stopExpiring := served.start()
	failed := make(chan error, 1)
	go func() { failed <- serve() }()
	select {
	case err := <-failed:
		return errors.Join(err, stopExpiring(context.WithoutCancel(ctx)))
	case <-ctx.Done():
	}
	logger.Info("stopping")
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	expiring := make(chan error, 1)
	go func() { expiring <- stopExpiring(stop) }()
	if err := errors.Join(server.Shutdown(stop), <-expiring, served.adapter.Close(stop)); err != nil {
		logger.Warn("stopped with turns running", "error", err)
		server.Close()
	}
	<-failed
	logger.Info("stopped")
	return nil
}
