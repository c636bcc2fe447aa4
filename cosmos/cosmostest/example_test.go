package cosmostest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"syscall"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"

	"github.com/botlapse/botlapse/cosmos/cosmostest"
)

// open returns a client of a container in account.
func open(account *cosmostest.Server) (*azcosmos.ContainerClient, error) {
	err := account.CreateContainer("bot", `{"id":"state","partitionKey":{"paths":["/id"]},"defaultTtl":-1}`)
	if err != nil {
		return nil, err
	}
	credential, err := azcosmos.NewKeyCredential(account.Key)
	if err != nil {
		return nil, err
	}
	client, err := azcosmos.NewClientWithKey(account.Endpoint(), credential, &azcosmos.ClientOptions{
		ClientOptions: azcore.ClientOptions{Transport: account},
	})
	if err != nil {
		return nil, err
	}
	return client.NewContainer("bot", "state")
}

// A session expires, without a wait.
func ExampleServer_Advance() {
	account := cosmostest.New()
	container, err := open(account)
	if err != nil {
		log.Fatal(err)
	}
	ctx, key := context.Background(), azcosmos.NewPartitionKeyString("session")
	if _, err := container.UpsertItem(ctx, key, []byte(`{"id":"session","ttl":1800}`), nil); err != nil {
		log.Fatal(err)
	}
	read := func() int {
		_, err := container.ReadItem(ctx, key, "session", nil)
		var response *azcore.ResponseError
		if errors.As(err, &response) {
			return response.StatusCode
		}
		return 200
	}
	account.Advance(29 * time.Minute)
	fmt.Println(read())
	account.Advance(time.Minute)
	fmt.Println(read())
	// Output:
	// 200
	// 404
}

// A write takes effect, but its answer is lost.
func ExampleFault() {
	account := cosmostest.New()
	account.Fault = func(r cosmostest.Request) cosmostest.Fault {
		if r.Op == cosmostest.UpsertItem && r.N == 1 {
			return cosmostest.Fault{Reset: true, Committed: true}
		}
		return cosmostest.Fault{}
	}
	container, err := open(account)
	if err != nil {
		log.Fatal(err)
	}
	ctx, key := context.Background(), azcosmos.NewPartitionKeyString("a")
	_, err = container.UpsertItem(ctx, key, []byte(`{"id":"a"}`), nil)
	fmt.Println("reset:", errors.Is(err, syscall.ECONNRESET))
	_, err = container.ReadItem(ctx, key, "a", nil)
	fmt.Println("found:", err == nil)

	for _, r := range account.Requests() {
		fmt.Println(r.Op, r.Item, r.Status)
	}
	// Output:
	// reset: true
	// found: true
	// ReadAccount  200
	// UpsertItem a 0
	// ReadItem a 200
}
