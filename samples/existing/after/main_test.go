package main

import (
	"context"
	"net/http"
	"testing"

	"github.com/infracloudio/msbotbuilder-go/core"

	"github.com/botlapse/botlapse/bottest"
)

func TestConversation(t *testing.T) {
	bottest.Play(t, "testdata/order.txt", func(base core.Adapter) (http.Handler, func(context.Context) error) {
		client := &http.Client{Transport: base.(http.RoundTripper)}
		handler, err := newBot(core.AdapterSetting{AuthClient: client, ReplyClient: client})
		if err != nil {
			panic(err)
		}
		return handler, nil
	})
}
