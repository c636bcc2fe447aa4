package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheProbeLooksOnceASecondHoweverManyAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		var err error
		p := newProbe(slog.New(slog.DiscardHandler), func(context.Context) error {
			looks++
			time.Sleep(100 * time.Millisecond)
			return err
		})
		ask := func(n, want int) {
			codes := make(chan int)
			for range n {
				go func() {
					w := httptest.NewRecorder()
					p.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
					codes <- w.Code
				}()
			}
			for range n {
				if code := <-codes; code != want {
					t.Errorf("answer is %d, want %d", code, want)
				}
			}
		}
		ask(100, 200)
		err = errors.New("away")
		time.Sleep(time.Second - time.Nanosecond)
		ask(100, 200)
		time.Sleep(time.Nanosecond)
		ask(100, 503)
		if looks != 2 {
			t.Errorf("%d looks", looks)
		}
	})
}
