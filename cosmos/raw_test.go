package cosmos_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"

	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
)

// bare is a container of the database bot through azcosmos alone.
func bare(t testing.TB, server *cosmostest.Server, name string) *azcosmos.ContainerClient {
	t.Helper()
	credential, err := azcosmos.NewKeyCredential(server.Key)
	if err != nil {
		t.Fatal(err)
	}
	client, err := azcosmos.NewClientWithKey(server.Endpoint(), credential, &azcosmos.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: server}})
	if err != nil {
		t.Fatal(err)
	}
	container, err := client.NewContainer("bot", name)
	if err != nil {
		t.Fatal(err)
	}
	return container
}

func stored(t testing.TB, server *cosmostest.Server, id string) []byte {
	t.Helper()
	resp, err := bare(t, server, "state").ReadItem(t.Context(), azcosmos.NewPartitionKeyString(id), id, nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Value
}

func put(t testing.TB, server *cosmostest.Server, id, item string) {
	t.Helper()
	if _, err := bare(t, server, "state").UpsertItem(t.Context(), azcosmos.NewPartitionKeyString(id), []byte(item), nil); err != nil {
		t.Fatal(err)
	}
}

func putDeadline(t testing.TB, server *cosmostest.Server, shard, item string) {
	t.Helper()
	if _, err := bare(t, server, "deadlines").UpsertItem(t.Context(), azcosmos.NewPartitionKeyString(shard), []byte(item), nil); err != nil {
		t.Fatal(err)
	}
}

// spy returns an account whose replacements of containers are seen.
func spy(t *testing.T, server *cosmostest.Server, replaced func(body []byte)) *cosmos.Account {
	account, err := cosmos.NewAccount(server.Endpoint(), &cosmos.AccountOptions{Key: server.Key, Transport: spying{server, replaced}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(account.Close)
	return account
}

type spying struct {
	*cosmostest.Server
	replaced func([]byte)
}

func (s spying) Do(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPut {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		s.replaced(body)
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return s.Server.Do(r)
}
