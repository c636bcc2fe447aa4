package middleware_test

import (
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/botlapse/botlapse/cosmos/cosmostest"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state/statetest"
)

// A meter adds up what requests to a Cosmos DB cost.
type meter struct {
	*cosmostest.Server
	units atomic.Int64 // in hundredths
}

func (m *meter) Do(r *http.Request) (*http.Response, error) {
	resp, err := m.Server.Do(r)
	if err == nil {
		units, _ := strconv.ParseFloat(resp.Header.Get("x-ms-request-charge"), 64)
		m.units.Add(int64(units * 100))
	}
	return resp, err
}

// TestWhatASessionCosts counts what twenty messages and the end of a session cost: in
// calls and bytes, and with Cosmos DB in request units, as its imitation reckons them.
func TestWhatASessionCosts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		server := cosmostest.New()
		m := &meter{Server: server}
		storage, queue := openCosmosThrough(t, server, m)
		faults, arms := &statetest.Faults{Storage: storage}, &countingStore{Store: queue("")}
		s.storage, s.store = faults, arms
		r := s.start(t, middleware.SessionsOptions{})
		var reads, writes, armed int
		var units int64
		costs := func(what string, wantReads, wantWrites, wantArms int, most float64) {
			t.Helper()
			synctest.Wait()
			nr, nw, na, nu := faults.Count(statetest.Read)-reads, faults.Count(statetest.Write)-writes, arms.armed-armed, m.units.Load()-units
			items, err := storage.Read(t.Context(), []string{"test/conversations/a"})
			if err != nil {
				t.Fatal(err)
			}
			size := len(items["test/conversations/a"].Value)
			t.Logf("%s: %d reads, %d writes, %d arms, %.2f request units; %d bytes", what, nr, nw, na, float64(nu)/100, size)
			if nr != wantReads || nw != wantWrites || na != wantArms || float64(nu)/100 > most || size > 600 {
				t.Errorf("%s: want %d reads, %d writes, %d arms, at most %v units and 600 bytes", what, wantReads, wantWrites, wantArms, most)
			}
			reads, writes, armed, units = reads+nr, writes+nw, armed+na, m.units.Load()
		}
		polls := func(d time.Duration) { // looks in vain for deadlines, which are no part of the session
			time.Sleep(d)
			synctest.Wait()
			units = m.units.Load()
		}
		polls(time.Second)
		r.say(t, "a")
		costs("the first message", 1, 1, 1, 20)
		for range 19 {
			polls(time.Minute)
			r.say(t, "a")
			costs("another message", 1, 1, 0, 10)
		}
		polls(timeout - 19*time.Minute - time.Second)
		time.Sleep(time.Second)
		costs("a look that is too early", 1, 0, 0, 40)
		polls(19*time.Minute - time.Second)
		time.Sleep(time.Second)
		costs("the end", 1, 2, 0, 60)
		if texts := only(s.channel); texts[len(texts)-1] != farewell || strings.Contains(s.document(t, "a"), "open") {
			t.Errorf("sent were %q, stored is %s", texts, s.document(t, "a"))
		}
	})
}
