/*
Package deadline keeps a queue of instants, and has something done when they come.

	runner := deadline.Run(store, func(ctx context.Context, c deadline.Claim) (deadline.Outcome, error) {
		fmt.Println(c.Key, string(c.Data))
		return deadline.Outcome{}, nil // it is over
	}, nil)
	defer runner.Close(ctx)
	runner.Arm(ctx, deadline.Deadline{Key: "a", Due: time.Now().Add(time.Hour), Data: []byte("tea")})

It knows nothing of bots: Data is what its owner wants to find again.

# Leases

Several processes can share a [Store]. Each claims what is due for 30 s, and
renews the claim as long as its look runs. A claim ends in one of three ways:
the look has returned, and the runner settles the claim as the [Outcome] says;
the process has ended, and another one takes the deadline up when the 30 s are
over; or the deadline was armed anew meanwhile, and the context of the look
ends.

So a deadline is looked at at least once. What must happen once, the look must
see to.

# Stores

[Memory] is in the process. Those in the file of package state/bolt and in
Cosmos DB, of package cosmos, survive a restart. For another place, implement
[Store]; package deadline/deadlinetest tests it.

# Fair places

Looks begin in the order in which their deadlines are due, as many at once as
[Options].Concurrency says. A look that takes longer than a second gives its
place to others, and earlier than that while many take long: what hangs holds up
nobody else.

# Metrics

OpenTelemetry's meter provider of the process gets
botlapse.deadline.store.duration, a histogram in seconds by operation and
outcome, and the counters botlapse.deadline.armed, moved, parked and
claims_lost.
*/
package deadline
