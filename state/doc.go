/*
Package state keeps what a bot must remember from one turn to the next: per
conversation, per user, or per user within a conversation.

	storage := state.NewMemory()
	conversation := state.NewConversation(storage)
	step := state.NewProperty[int](conversation, "step")

	ctx = state.NewContext(ctx, state.IDs{Channel: "webchat", Conversation: "c1", User: "u1"})
	n, err := step.GetOr(ctx, 0)   // reads the document, once a turn
	err = step.Set(ctx, n+1)       // changes it for this turn
	err = conversation.Save(ctx)   // writes it, if it changed

In a bot, the adapter of package bot makes the context, and AutoSave of package
middleware saves.

# Storages

[Memory] forgets when the process ends. Package state/bolt keeps documents in
one local file, and package cosmos in Azure Cosmos DB. For another place,
implement [Storage]: its comment is the contract, and package state/statetest
tests it.

# Documents

A document is a JSON object with one member per property, under the storage
keys of the official Bot Framework SDKs, so that bots in several languages can
share a container. Members that this bot does not set keep their bytes and
their place, whatever they hold.

# Concurrency

Documents are written only as the version that was read. Two turns of one
conversation that run at the same time, in one process or in two, do not undo
each other's changes: see [Scope.Save]. What a turn has set is lost if it is not
saved, or if its Save fails.

# Time to live

[Scope.ExpireAt], or the function of a [Bookkeeping], says when the storage may
drop a document. Without either, the storage's own default holds.

# Clearing

[Scope.Clear] leaves a mark in the document, the property "botlapse.cleared",
by which a save that began before the clearing knows that it comes too late.
*/
package state
