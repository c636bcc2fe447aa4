package cosmos_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"

	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/statetest"
)

// What do the calls of a turn cost, with the server in the same process?
func BenchmarkStorage(b *testing.B) {
	statetest.Benchmark(b, func(b *testing.B) state.Storage { return newStorage(b, newServer(b, byID)) })
}

// What does the storage add to what azcosmos costs for the same requests: a
// read and a conditional write of a document of 1 KiB, over a socket?
func BenchmarkBeside(b *testing.B) {
	server := newServer(b, byID)
	socket := httptest.NewServer(server)
	defer socket.Close()
	document := fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", 1000))

	b.Run("azcosmos", func(b *testing.B) {
		credential, err := azcosmos.NewKeyCredential(server.Key)
		if err != nil {
			b.Fatal(err)
		}
		client, err := azcosmos.NewClientWithKey(socket.URL, credential, nil)
		if err != nil {
			b.Fatal(err)
		}
		container, err := client.NewContainer("bot", "state")
		if err != nil {
			b.Fatal(err)
		}
		key := azcosmos.NewPartitionKeyString("azcosmos")
		item := func(n int) []byte {
			return fmt.Appendf(nil, `{"id":"azcosmos","realId":"azcosmos","document":%s,"writeId":"%026d"}`, document, n)
		}
		if _, err := container.UpsertItem(b.Context(), key, item(0), nil); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			found, err := container.ReadItem(b.Context(), key, "azcosmos", nil)
			if err != nil {
				b.Fatal(err)
			}
			var envelope struct{ Document json.RawMessage }
			if err := json.Unmarshal(found.Value, &envelope); err != nil {
				b.Fatal(err)
			}
			etag := azcore.ETag(found.ETag)
			if _, err := container.ReplaceItem(b.Context(), key, "azcosmos", item(n), &azcosmos.ItemOptions{IfMatchEtag: &etag}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("botlapse", func(b *testing.B) {
		account, err := cosmos.NewAccount(socket.URL, &cosmos.AccountOptions{Key: cosmostest.EmulatorKey})
		if err != nil {
			b.Fatal(err)
		}
		defer account.Close()
		s := cosmos.New(account, "bot", "state", nil)
		write(b, s, "botlapse", document, "")
		b.ReportAllocs()
		for b.Loop() {
			items, err := s.Read(b.Context(), []string{"botlapse"})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := s.Write(b.Context(), map[string]state.Item{"botlapse": {Value: items["botlapse"].Value, ETag: items["botlapse"].ETag}}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
