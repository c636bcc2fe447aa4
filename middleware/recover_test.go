package middleware_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/botlapse/botlapse/middleware"
)

func TestAPanicIsTheTurnsErrorWithItsStack(t *testing.T) {
	bot := middleware.NewAdapter(&base{})
	err := bot.Process(t.Context(), message(""), func(context.Context, *middleware.Turn) error { panic("oops") })
	var p *middleware.PanicError
	if !errors.As(err, &p) || p.Value != "oops" || !strings.Contains(string(p.Stack), "recover_test.go") {
		t.Errorf("error is %#v", err)
	}
	if !strings.Contains(err.Error(), "oops") || strings.Contains(err.Error(), ".go") {
		t.Errorf("text is %q", err)
	}
}

func TestAPanicWithAnErrorWrapsIt(t *testing.T) {
	bot := middleware.NewAdapter(&base{})
	if err := bot.Process(t.Context(), message(""), func(context.Context, *middleware.Turn) error { panic(errBad) }); !errors.Is(err, errBad) {
		t.Errorf("error is %v", err)
	}
}
