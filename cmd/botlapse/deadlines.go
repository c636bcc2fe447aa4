package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/state/bolt"
)

func (p *program) deadlinesCommand() *cobra.Command {
	var retry bool
	cmd := &cobra.Command{
		Use:   "deadlines",
		Short: "List the deadlines in STATE_FILE: armed, overdue and parked",
		Long: "List the deadlines in STATE_FILE, which no other process may have open: when they\n" +
			"are due, whether they are armed, overdue or parked, and why.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := loadConfig(p.lookup, p.envFile)
			if err == nil && c.stateFile == "" {
				err = errors.New("STATE_FILE is empty: must be the file in which serve keeps state")
			}
			if err != nil {
				return err
			}
			return p.deadlines(cmd.Context(), c, retry)
		},
	}
	cmd.Flags().BoolVar(&retry, "retry", false, "arm those that are parked again, to be looked at when serve runs")
	return cmd
}

func (p *program) deadlines(ctx context.Context, c *config, retry bool) error {
	file, err := bolt.Open(c.stateFile)
	if err != nil {
		return fmt.Errorf("STATE_FILE is %q: %w", c.stateFile, err)
	}
	defer file.Close()
	store, err := deadline.NewBolt(file.DB())
	if err != nil {
		return err
	}
	var entries []deadline.Entry
	if err := store.Entries(ctx, func(e deadline.Entry) bool {
		entries = append(entries, e)
		return true
	}); err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b deadline.Entry) int { return a.Due.Compare(b.Due) })

	now := time.Now()
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, e := range entries {
		status := "armed"
		switch {
		case e.Parked != "" && retry:
			if err := store.Arm(ctx, deadline.Deadline{Key: e.Key, Due: now, Reference: e.Reference}); err != nil {
				return err
			}
			status = "armed again, was parked: " + oneLine(e.Parked)
		case e.Parked != "":
			status = "parked: " + oneLine(e.Parked)
		case e.Due.Before(now):
			status = "overdue"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", e.Due.UTC().Format(time.RFC3339), e.Key, status)
	}
	return table.Flush()
}

// oneLine puts a text that may have several lines on one.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
