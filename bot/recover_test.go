package bot_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/botlapse/botlapse/bot"
)

func TestAPanicIsTheTurnsErrorWithItsStack(t *testing.T) {
	adapter := bot.NewAdapter(&base{})
	err := adapter.Process(t.Context(), message(""), func(context.Context, *bot.Turn) error { panic("oops") })
	var p *bot.PanicError
	if !errors.As(err, &p) || p.Value != "oops" || !strings.Contains(string(p.Stack), "recover_test.go") {
		t.Errorf("error is %#v", err)
	}
	if !strings.Contains(err.Error(), "oops") || strings.Contains(err.Error(), ".go") {
		t.Errorf("text is %q", err)
	}
}

func TestAPanicWithAnErrorWrapsIt(t *testing.T) {
	adapter := bot.NewAdapter(&base{})
	if err := adapter.Process(t.Context(), message(""), func(context.Context, *bot.Turn) error { panic(errBad) }); !errors.Is(err, errBad) {
		t.Errorf("error is %v", err)
	}
}
