package bottest

import "testing"

// PlayScript plays a transcript and returns it with what the bot says.
func PlayScript(t testing.TB, program Program, script string) (string, error) {
	return play(New(t, program), script)
}
