// Package policy says what is due in a conversation, and when to look again.
//
// A [Record] says what happened in a conversation, and when. A [Policy] is a list
// of rules: when this holds, so long after that mark, do this. [Policy.Due] says
// what is due, and nothing else decides. The package carries nothing out: it
// reads no clock and does no I/O, and the same arguments give the same results.
//
//	rules, err := policy.New(
//		policy.Rule{Name: "nudge", After: 5 * time.Minute, Do: policy.Action{Say: "Are you still there?"}},
//		policy.Rule{Name: "idle", After: 30 * time.Minute, Do: policy.Action{End: true, Say: "Goodbye."}},
//	)
//	record := policy.Record{}.Arrive(time.Now(), "session 1")
//	verdict := rules.Due(record, policy.Place{}, time.Now(), policy.Look)
//	// Nothing is due: verdict.Fired is empty, and verdict.Next is in five minutes.
//
// Who carries a policy out calls Due whenever somebody writes, and at the Next of
// the verdict before. If steps have fired, it stores what [Policy.Apply] returns,
// clears the state if the Action ends, and does what is Open:
//
//   - With user input: Due with the cause User, Apply, then [Record.Arrive].
//   - At a deadline, and with other activities: Due with the cause Look, or NoInput
//     where a channel reports silence, then Apply.
//   - At the end of each turn: [Record.Ask], then Due for the deadline to arm.
//
// # What is promised
//
// Nothing fires early. A line goes through its steps once between two user inputs,
// one since Began once in a session, so whatever dialogs do, a policy comes to rest:
// between two user inputs, or beginnings of a session, no more fires than all Times
// together. A session ends once. A late look does in one step what several looks in
// time would have done.
package policy
