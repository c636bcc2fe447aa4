/*
Package bolt keeps state in one local file, for bots that run on one machine
and remember after a restart what they were told.

	storage, err := bolt.Open("state.db")
	if err != nil {
		log.Fatal(err)
	}
	defer storage.Close()
	conversation := state.NewConversation(storage)

The file is a bbolt database. There is nothing to install, to configure or to
run beside the bot.

# What is lost when

Nothing that was written. A Write that has returned without an error is on the
disk; if the process is killed or the power fails after that, it is there after
the next Open. A process that ends in the middle of a Write leaves all of it or
none. The file needs no repair afterwards.

This rests on a disk that keeps what it says it has synced, and on a file
system of this machine: not on a network share. If the disk cannot be read any
more, or somebody else cuts the file off, the process ends with a memory
fault, because the file is mapped into memory.

# Expiry

A TTL is measured by the clock of the machine and goes on while the bot is
down. An expired item is never returned. Its place is free for others only
after one of the writes that follow has cleaned up: each Write or Delete that
changes something removes more expired items than it can add.

# Speed

A write costs two syncs of the disk, alone or not: writes that come while
another one is on its way go to the disk together. Reads do not wait for them,
and for the disk only if the operating system does not have the file in memory.

# Size

The file grows with what is in it and never shrinks. Room that was freed is
used again. To give it back, close the storage and write a smaller file with
"bbolt compact"; a copy of the file made while it is open is not a backup, one
made by [bbolt.Tx.WriteTo] is.
*/
package bolt
