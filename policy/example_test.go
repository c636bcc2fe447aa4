package policy_test

import (
	"fmt"
	"time"

	"github.com/botlapse/botlapse/policy"
)

func Example() {
	rules, err := policy.New(
		policy.Rule{Name: "nudge", After: 5 * time.Minute, Do: policy.Action{Say: "Are you still there?"}},
		policy.Rule{Name: "idle", After: 30 * time.Minute, Do: policy.Action{End: true, Say: "Goodbye."}},
	)
	if err != nil {
		panic(err)
	}
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	record := policy.Record{}.Arrive(noon, "session 1")
	for now := noon; !now.IsZero(); {
		verdict := rules.Due(record, policy.Place{}, now, policy.Look)
		record = rules.Apply(record, verdict, now)
		fmt.Printf("%s %q\n", now.Format(time.TimeOnly), verdict.Action.Say)
		now = verdict.Next
	}
	// Output:
	// 12:00:00 ""
	// 12:05:00 "Are you still there?"
	// 12:30:00 "Goodbye."
}

// A user who comes back after the end finds a new session, and is told so.
func ExampleIdle() {
	rules := policy.Idle(30 * time.Minute)
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	record := policy.Record{}.Arrive(noon, "session 1")

	now := noon.Add(time.Hour) // they write again
	verdict := rules.Due(record, policy.Place{}, now, policy.User)
	record = rules.Apply(record, verdict, now).Arrive(now, "session 2")
	fmt.Println(verdict.Action.End, record.Session)
	fmt.Println(record.OnReturn)
	// Output:
	// true session 2
	// Welcome back!  Let's start over from the beginning.
}

// An exception is an earlier line of the same name with an after of 0.
func ExampleParse() {
	rules, err := policy.Parse([]byte(`{"rules": [
	  {"name": "idle", "when": {"channels": ["email"]}, "after": 0},
	  {"name": "idle", "after": "PT30M", "do": {"end": true, "on_return": "Welcome back!"}}
	]}`))
	if err != nil {
		panic(err)
	}
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	record := policy.Record{}.Arrive(noon, "session 1")
	for _, channel := range []string{"email", "webchat"} {
		fmt.Println(channel)
		for _, line := range rules.Explain(record, policy.Place{Channel: channel}, noon) {
			fmt.Printf("  %s: %s %s\n", line.ID, line.Due.Format(time.TimeOnly), line.Why)
		}
	}
	// Output:
	// email
	//   idle: 00:00:00 never due: after is 0
	//   idle#2: 00:00:00 an earlier line of its name is in force
	// webchat
	//   idle: 00:00:00 another channel
	//   idle#2: 12:30:00
}

func ExamplePolicy_Lint() {
	rules, err := policy.New(
		policy.Rule{Name: "idle", After: 10 * time.Minute, Do: policy.Action{End: true, OnReturn: "Welcome back!"}},
		policy.Rule{Name: "warn", After: 25 * time.Minute, Do: policy.Action{Say: "Five minutes left."}},
	)
	if err != nil {
		panic(err)
	}
	for _, problem := range rules.Lint(policy.Env{}) {
		fmt.Println(problem)
	}
	// Output:
	// rule "warn": after: is never reached, because rule "idle" ends the session before
}
