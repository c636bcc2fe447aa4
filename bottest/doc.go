/*
Package bottest tests bots. Users say something, fall silent and come back; the
test says what the bot has to answer, and hours pass at once.

	func TestTheBotStartsOver(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := bottest.New(t, newBot)
			c.Says("hi").Expects("What would you like?")
			c.Silence(30 * time.Minute)
			c.Says("tea").Expects("Welcome back!  Let's start over from the beginning.", "What would you like?")
		})
	}

The function newBot is a [Program]. It makes the bot as main does, over the base
that it is given:

	func newBot(base core.Adapter) (http.Handler, func(context.Context) error) {
		conversation := state.NewConversation(state.NewMemory())
		adapter := bot.NewAdapter(base,
			middleware.AutoSave(conversation),
			middleware.Expire(conversation, 30*time.Minute, nil),
		)
		return adapter.HTTPHandler(handle), adapter.Close
	}

The bot runs in a bubble of testing/synctest. Time stands still in it while
anything runs, and jumps when everything waits: a test of a week takes a
millisecond, and a message that comes a nanosecond too early is seen.

# Transcripts

[Play] plays a conversation that is written down in a file:

	# Somebody orders, and goes away.
	> hi
	< What would you like?
	> tea
	< How many?
	+30m
	> 12
	< Welcome back!  Let's start over from the beginning.
	< What would you like?

Run with the flag -update, Play writes the lines of the bot into the file. A line
is one thing, by what it begins with:

	>  what the user says; a JSON object with a type is the activity itself,
	   as in > {"type":"event","name":"payment"}
	<  what the bot says, as in [Chat.Expects]: [a button], (an attachment),
	   {"type":"typing"}
	=  how the bot has answered the request, if by more than a 200
	|  one more line of what stands above it
	+  how long nobody writes: +30m, +1h30m, +29m59.999999999s
	@  who talks from here on: @channel user, in a conversation of their own, or
	   @channel user conversation. At the start it is @test user. What the bot
	   says elsewhere stands behind such a line too
	!  what happens: ! kill, ! restart (in order, or after a kill), and what the
	   channel does with what the bot sends: ! refuse 403, ! delay 10s, ! accept
	#  a comment; empty lines are free too

A transcript shows what users see. It cannot express at which instant within a
silence the bot has spoken (make the silence two), what cards and channelData
hold besides, several turns at once, replicas, faults of a storage, ids with
spaces. A test in Go can: [Chat.Sent] has the activities.

A test package that wants a flag -update for files of its own takes this one, by
flag.Lookup("update").

# When things go wrong

The [Channel] refuses, hangs or is slow, as the test says. A process ends at any
step ([Chat.Kill]), another one takes its place ([Chat.Restart]), or runs beside
it ([Chat.Replica]). Processes that keep their state share it outside of the
Program:

	storage := state.NewMemory()
	c := bottest.New(t, func(base core.Adapter) (http.Handler, func(context.Context) error) {
		return newBot(base, base.(*bottest.Process).Storage(storage))
	})

Package bottest imports package testing. It is for tests only.
*/
package bottest
