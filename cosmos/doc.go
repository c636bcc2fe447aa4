/*
Package cosmos keeps state in Azure Cosmos DB for NoSQL, in the documents of
the official Bot Framework SDKs, so that bots in several languages can share a
container.

	account, err := cosmos.NewAccount("https://bot.documents.azure.com", &cosmos.AccountOptions{Key: key})
	if err != nil {
		log.Fatal(err)
	}
	defer account.Close()
	conversation := state.NewConversation(cosmos.New(account, "bot", "conversations", nil))
	user := state.NewUser(cosmos.New(account, "bot", "users", nil))

An [Initializer] makes the containers: that of conversations with a time to
live, that of users without one.

[Deadlines] keeps in a third container when silent conversations are to be
looked at, for any number of replicas:

	sessions := middleware.NewSessions(conversation, rules, &middleware.SessionsOptions{
		Deadlines: cosmos.NewDeadlines(account, "bot", "deadlines", nil),
	})

# Consistency

Every write of a document that was read is conditional on its version, which
the service checks whatever the account's consistency level: two replicas of a
bot never undo each other's changes. What a read returns depends on the level.
With Strong and BoundedStaleness in one region it is the latest version. With
Session, a [Storage] reads its own writes, those of the same process; another
process may read an older version for a moment, and learns of it when it
writes: the write is refused, and package state reads again, then with the
token of the refusal. With ConsistentPrefix and Eventual that may be too old
still: a save then tries more often, and one whose answer was lost may be taken
for somebody else's.

# Time to live

The service counts in whole seconds, from the second in which an item was
written. A TTL of a part of a second is rounded up; an item may be gone up to
one second early.
*/
package cosmos
