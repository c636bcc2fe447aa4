package middleware

import "time"

// A verdict is what is to be done about a conversation, by its record and the
// limits in force.
type verdict struct {
	stale bool
	idle  time.Duration // since the last user input
	at    time.Time     // when it became stale, or will unless the user writes; zero for never
}

// judge decides whether a conversation is stale at the instant now. Nothing
// else does. lastAccessed is zero if the conversation has no record of user
// input; timeout is 0 or negative for never.
func judge(lastAccessed time.Time, timeout time.Duration, now time.Time) verdict {
	if lastAccessed.IsZero() || lastAccessed.After(now) {
		lastAccessed = now // a first turn, or a clock that was ahead of ours
	}
	v := verdict{idle: now.Sub(lastAccessed)}
	if timeout > 0 {
		v.stale = v.idle >= timeout
		v.at = lastAccessed.Add(timeout)
	}
	return v
}
