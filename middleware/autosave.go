package middleware

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/state"
)

const (
	// saveTimeout is how long the state of a turn may be saved after its time.
	saveTimeout = 10 * time.Second

	// Between attempts to save, minSavePause goes by, doubled each time up to
	// maxSavePause.
	minSavePause = 100 * time.Millisecond
	maxSavePause = 2 * time.Second
)

// AutoSave saves the scopes, one after the other, after the handler has
// succeeded, each if it was used and has changed. After a handler that failed it
// saves nothing. If saving fails, the turn fails. The other scopes are saved all
// the same, unless the storage did not answer: then those that follow are not, so
// that another delivery of the activity changes nothing twice.
//
// If the storage does not answer, and the turn is to be seen through, since it is
// committed ([bot.Turn.Committed]) or something of it is stored, AutoSave tries
// again, as long as the turn may take and 10 s beyond. A turn whose context is done
// when the handler returns, because the client went away, is saved too, within
// 10 s; but one that was given up ([bot.ErrGivenUp]) is not.
func AutoSave(scopes ...*state.Scope) bot.Middleware {
	if slices.Contains(scopes, nil) {
		panic("middleware: AutoSave of a nil scope")
	}
	return func(next bot.Handler) bot.Handler {
		return func(ctx context.Context, turn *bot.Turn) error {
			if err := next(willSave(ctx, &scopes), turn); err != nil {
				return err
			}
			ctx, cancel := turn.Outlast(ctx, saveTimeout)
			defer cancel()
			for pause := minSavePause; ; pause = min(2*pause, maxSavePause) {
				err := save(ctx, scopes)
				if err == nil || !state.Unanswered(ctx) || !turn.Committed() && !state.Stored(ctx) {
					return err
				}
				select {
				case <-time.After(pause):
				case <-ctx.Done():
					return err
				}
			}
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

func save(ctx context.Context, scopes []*state.Scope) error {
	var errs []error
	for _, s := range scopes {
		if err := s.Save(ctx); err != nil {
			errs = append(errs, err)
			if state.Unanswered(ctx) {
				break
			}
		}
	}
	return errors.Join(errs...)
}
