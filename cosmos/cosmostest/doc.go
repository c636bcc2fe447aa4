/*
Package cosmostest is an Azure Cosmos DB account in the memory of a test: what
its REST API for NoSQL does with databases, containers and items, and what it
refuses, with a clock that can be moved and faults that can be ordered.

	account := cosmostest.New()
	err := account.CreateContainer("bot", `{"id":"state","partitionKey":{"paths":["/id"]},"defaultTtl":-1}`)

	credential, err := azcosmos.NewKeyCredential(account.Key)
	client, err := azcosmos.NewClientWithKey(account.Endpoint(), credential, &azcosmos.ClientOptions{
		ClientOptions: azcore.ClientOptions{Transport: account},
	})
	container, err := client.NewContainer("bot", "state")

As the Transport, the account needs neither a socket nor a goroutine, and works
in a bubble of [testing/synctest]. For clients in other processes and languages
it is an [http.Handler]: the URL of httptest.NewServer(account) is then their
endpoint.

# What it does

Statuses, substatuses and headers are those of the service, also where they
surprise. Writes are conditional on quoted eTags. Items expire to the second,
_ts plus time to live, and then never were. Ids, items, levels of JSON,
batches, patches and times to live have their limits. An id with a slash, a
backslash, a number sign, a percent sign or a space at its end can be created,
and not addressed. Queries that the gateway cannot serve across partitions get
400, and so does syntax that this package does not know.

Requests are counted and logged: see [Server.Requests] and [Server.Count].
They can be failed, delayed, left hanging or cut off, before or after they take
effect: see [Fault]. Reads can come from a replica that lags: see Server.Lag.

# What it does not imitate

These are answered with 501 and a message: the change feed, stored procedures,
triggers and functions, users and permissions, conflicts, provisioned
throughput beyond the headers that ask for it, query plans, batches that are
not atomic, partition keys of several paths, and unique keys. So is, with 404,
the addressing of resources by _rid.

There is one region and one physical partition. Nothing runs out: 429 comes
from a Fault alone, and request charges are plausible rather than right.
Numbers keep their digits, where the service may round them to a double. API
versions are not told apart. Queries have comparisons, AND, OR, NOT, IN, a few
functions, paths as columns, COUNT, TOP, ORDER BY of one path, and OFFSET.
*/
package cosmostest
