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

Several processes can share a [Store]. Each claims what is due under a lease, and
renews it as long as its look runs. If the process ends, another one takes the
deadline up when the lease is over. So a deadline is looked at at least once; what
must happen once, the look must see to.

# Fair places

Looks begin in the order in which their deadlines are due, as many at once as
[Options].Concurrency says. A look that takes longer than a second gives its place
to others, and earlier than that while many take long: what hangs holds up
nobody else.

# Metrics

OpenTelemetry's meter provider of the process gets botlapse.deadline.store.duration,
a histogram in seconds by operation and outcome, and the counters
botlapse.deadline.armed, moved, parked and claims_lost.
*/
package deadline
