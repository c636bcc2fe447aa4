package cosmos_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

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

// What does it cost to arm a deadline, with the server in the same process?
func BenchmarkArm(b *testing.B) {
	d := newDeadlines(b, newServer(b, byShard), nil)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		arm(b, d, fmt.Sprint(i%10000), time.Now().Add(time.Hour))
	}
}

// How many deadlines can be claimed and finished in a second, 64 at once, and
// does it depend on how many there are that are not due?
func BenchmarkExpiries(b *testing.B) {
	const batch = 64
	for _, waiting := range []int{0, 1000, 10000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			server := newServer(b, byShard)
			d := newDeadlines(b, server, nil)
			begin := time.Now()
			for i := range waiting {
				arm(b, d, fmt.Sprint("waiting ", i), begin.Add(24*time.Hour))
			}
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				for i := range batch {
					arm(b, d, fmt.Sprint(i), begin)
				}
				server.ForgetRequests()
				b.StartTimer()
				claims, _ := claim(b, d, batch)
				if len(claims) != batch {
					b.Fatalf("%d are claimed", len(claims))
				}
				for _, c := range claims {
					if err := d.Settle(b.Context(), c, remove); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(batch*float64(b.N)/b.Elapsed().Seconds(), "expiries/s")
		})
	}
}
