package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/policy"
)

// readPolicy reads the policy file, if there is to be one, and reports what is wrong
// with it and beside it.
func (c *config) readPolicy() error {
	if c.policyFile == "" {
		return nil
	}
	var problems []error
	for _, name := range []string{"ExpireAfterSeconds", "ExpireMessage", "ExpireProactiveMessage"} {
		if c.set[name] {
			problems = append(problems, fmt.Errorf("%s is set: with POLICY_FILE it must be empty, because the file says that", name))
		}
	}
	rules, err := c.loadPolicy()
	c.policy = rules
	return errors.Join(append(problems, err)...)
}

// loadPolicy reads the policy file.
func (c *config) loadPolicy() (policy.Policy, error) {
	data, err := os.ReadFile(c.policyFile)
	if err != nil {
		return policy.Policy{}, fmt.Errorf("POLICY_FILE is %q: %w", c.policyFile, err)
	}
	rules, err := policy.Parse(data)
	var found policy.Problems
	if errors.As(err, &found) {
		return rules, c.policyProblems(found)
	} else if err != nil {
		return rules, fmt.Errorf("POLICY_FILE is %q: %w", c.policyFile, err)
	}
	for _, p := range rules.Lint(policy.Env{NoDeadlines: !c.proactive()}) {
		if !p.Warning {
			found = append(found, p)
		}
	}
	return rules, c.policyProblems(found)
}

// policyProblems returns the problems of the policy file, an error each.
func (c *config) policyProblems(found policy.Problems) error {
	var problems []error
	for _, p := range found {
		problems = append(problems, fmt.Errorf("POLICY_FILE is %q: %v", c.policyFile, p))
	}
	return errors.Join(problems...)
}

// warnOfPolicy warns of what is probably not meant in the policy file.
func (c *config) warnOfPolicy(logger *slog.Logger) {
	if c.policyFile == "" {
		return
	}
	for _, p := range c.policy.Lint(policy.Env{NoDeadlines: !c.proactive()}) {
		if p.Warning {
			logger.Warn("POLICY_FILE", "problem", p.String())
		}
	}
}

// rules returns the policy of the file, or that which the variables stand for.
func (c *config) rules() (policy.Policy, error) {
	if c.policyFile != "" {
		return c.policy, nil
	}
	idle := policy.Rule{Name: "idle", After: c.expireAfter, Do: policy.Action{End: true, OnReturn: c.expireMessage}}
	if c.proactive() {
		idle.Do.Say = c.expireProactiveMessage
	}
	return policy.New(idle)
}

// reloadPolicy reads the policy file anew with each SIGHUP, until ctx is done. A file
// that is wrong is refused, and the old policy stays.
func (c *config) reloadPolicy(ctx context.Context, sessions *middleware.Sessions, logger *slog.Logger) {
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, syscall.SIGHUP)
	defer signal.Stop(hangUp)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangUp:
		}
		rules, err := c.loadPolicy()
		if err == nil {
			err = sessions.SetPolicy(ctx, rules)
		}
		if err != nil {
			logger.Error("the policy was not read anew", "error", err)
			continue
		}
		logger.Info("the policy was read anew")
	}
}
