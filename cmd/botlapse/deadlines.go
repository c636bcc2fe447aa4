package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/internal/redact"
	"github.com/botlapse/botlapse/state/bolt"
)

func (p *program) deadlinesCommand() *cobra.Command {
	var retry bool
	cmd := &cobra.Command{
		Use:   "deadlines",
		Short: "List the deadlines: armed, overdue and parked",
		Long: "List the deadlines in STATE_FILE, which no other process may have open, or in\n" +
			"Cosmos DB: when they are due, the hash by which logs name the conversation, its\n" +
			"key, whether they are armed, overdue, claimed by a process or parked, and why.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := loadConfig(p.lookup, p.envFile)
			switch {
			case err != nil:
			case c.cosmos.endpoint != "":
				err = c.checkCosmos()
			case c.stateFile == "":
				err = errors.New("STATE_FILE and CosmosDbEndpoint are empty: one must be where serve keeps state")
			}
			if err != nil {
				return err
			}
			c.nameInLogs()
			store, close, err := p.openDeadlines(c)
			if err != nil {
				return err
			}
			return errors.Join(p.listDeadlines(cmd.Context(), store, retry), close())
		},
	}
	cmd.Flags().BoolVar(&retry, "retry", false, "arm those that are parked again, to be looked at when serve runs")
	return cmd
}

// openDeadlines opens the store of the deadlines.
func (p *program) openDeadlines(c *config) (store deadline.Store, close func() error, err error) {
	if c.cosmos.endpoint != "" {
		account, err := c.cosmos.account(p.cosmosTransport)
		if err != nil {
			return nil, nil, err
		}
		return c.cosmosDeadlines(account), func() error { account.Close(); return nil }, nil
	}
	if _, err := os.Stat(c.stateFile); err != nil { // bolt.Open would make it
		return nil, nil, fmt.Errorf("STATE_FILE is %q: %w", c.stateFile, err)
	}
	file, err := bolt.Open(c.stateFile)
	if err != nil {
		return nil, nil, fmt.Errorf("STATE_FILE is %q: %w", c.stateFile, err)
	}
	return file.Deadlines(queue), file.Close, nil
}

func (p *program) listDeadlines(ctx context.Context, store deadline.Store, retry bool) error {
	var entries []deadline.Entry
	for e, err := range store.All(ctx) {
		if err != nil {
			return err
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b deadline.Entry) int { return a.Due.Compare(b.Due) })

	now := time.Now()
	var failed []error
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, e := range entries {
		status := "armed"
		switch {
		case e.Parked != "" && retry:
			status = "armed again, was parked: " + oneLine(e.Parked)
			if err := store.Arm(ctx, deadline.Deadline{Key: e.Key, Due: now, Data: e.Data}); err != nil {
				failed = append(failed, err)
				status = "parked: " + oneLine(e.Parked)
			}
		case e.Parked != "":
			status = "parked: " + oneLine(e.Parked)
		case e.Leased.After(now):
			status = "claimed"
		case e.Due.Before(now):
			status = "overdue"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", e.Due.UTC().Format(time.RFC3339), redact.Hash(e.Key), printable(e.Key), status)
	}
	return errors.Join(append(failed, table.Flush())...)
}

// printable quotes a key that would do something to a terminal: its ids come from
// channels.
func printable(key string) string {
	if strings.ContainsFunc(key, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(key)
	}
	return key
}

// oneLine puts a text that may have several lines on one.
func oneLine(text string) string { return printable(strings.Join(strings.Fields(text), " ")) }
