package middleware

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/state"
)

// saveTimeout bounds the saving of state behind a turn whose context is done.
const saveTimeout = 10 * time.Second

// AutoSave saves the scopes after the handler has succeeded, each if it was
// used and has changed. After a handler that failed it saves nothing. If
// saving fails, the turn fails; the other scopes are saved all the same.
//
// A turn whose context is done when the handler returns, because the client
// went away, is saved too.
func AutoSave(scopes ...*state.Scope) bot.Middleware {
	if slices.Contains(scopes, nil) {
		panic("middleware: AutoSave of a nil scope")
	}
	return func(next bot.Handler) bot.Handler {
		return func(ctx context.Context, turn *bot.Turn) error {
			if err := next(willSave(ctx, &scopes), turn); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
			defer cancel()
			var errs []error
			for _, s := range scopes {
				if err := s.Save(ctx); err != nil {
					errs = append(errs, err)
				}
			}
			return errors.Join(errs...)
		}
	}
}

// savedKey is the key of the scopes that an AutoSave around saves.
type savedKey struct{}

// willSave returns a context that says that the scopes will be saved.
func willSave(ctx context.Context, scopes *[]*state.Scope) context.Context {
	if outer, ok := ctx.Value(savedKey{}).(*[]*state.Scope); ok {
		all := slices.Concat(*outer, *scopes)
		scopes = &all
	}
	return context.WithValue(ctx, savedKey{}, scopes)
}

// isSaved reports whether an AutoSave around saves the scope.
func isSaved(ctx context.Context, scope *state.Scope) bool {
	scopes, ok := ctx.Value(savedKey{}).(*[]*state.Scope)
	return ok && slices.Contains(*scopes, scope)
}
