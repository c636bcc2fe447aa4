package deadline_test

import (
	"testing"

	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/deadline/deadlinetest"
	"github.com/botlapse/botlapse/state"
)

func TestMemory(t *testing.T) {
	deadlinetest.Run(t, func(t *testing.T) deadline.Store { return deadline.NewMemory() })
}

// openCosmos returns what one process has of an account, in which it makes what is
// missing.
func openCosmos(t testing.TB, server *cosmostest.Server) (state.Storage, deadline.Store) {
	account, err := cosmos.NewAccount(server.Endpoint(), &cosmos.AccountOptions{Key: server.Key, Transport: server})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(account.Close)
	initializer := &cosmos.Initializer{Account: account, Database: "bot", Conversation: "conversations", User: "users", Deadlines: "deadlines", TimeToLive: -1, CreateDatabase: true}
	if err := initializer.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return cosmos.New(account, "bot", "conversations", nil), cosmos.NewDeadlines(account, "bot", "deadlines", nil)
}
