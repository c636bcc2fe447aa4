package state

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/botlapse/botlapse/internal/object"
)

// ErrCorrupt reports a stored document or property that is not what it should
// be: not a JSON object, or not a value of the property's type.
var ErrCorrupt = errors.New("corrupt state")

// KeyForm says how storage keys are written.
type KeyForm int

const (
	// DotNet keys are those of the .NET and Python SDKs:
	// "channel/conversations/id".
	DotNet KeyForm = iota

	// JavaScript keys are those of the JavaScript SDK, which end in a slash:
	// "channel/conversations/id/".
	JavaScript
)

const (
	// saveAttempts is how often in a row a storage may refuse what it says is
	// the current version. A Save that others are ahead of goes on.
	saveAttempts = 5

	// Waits between attempts are random, up to saveWait, doubled each time up to
	// maxSaveWait.
	saveWait    = 10 * time.Millisecond
	maxSaveWait = 160 * time.Millisecond
)

// clearedProperty marks a document that was cleared, with a value that no
// other clearing has. A save that began before the clearing finds the mark
// changed and gives up instead of bringing old state back.
const clearedProperty = "botlapse.cleared"

// typeProperty is the type tag that the .NET SDK puts first in each document.
// It is the document's, not a property of the bot, and outlives clearing.
const typeProperty = "$type"

// A Scope is the state of all conversations, of all users, or of all users
// within their conversations: one JSON document each, in a [Storage]. Which of
// them a call is about is said by its context, which must come from
// [NewContext]; each document is read on first use in a turn, and written by
// [Scope.Save] if it changed.
//
// The fields must be set before the scope is first used. The methods are safe
// for concurrent use, also within one turn.
type Scope struct {
	// KeyForm is the form of the storage keys. The default is DotNet.
	KeyForm KeyForm

	// LastWriteWins decides what happens when this turn and somebody else
	// changed the same property. By default Save returns [ErrConflict]; with
	// LastWriteWins it overwrites, as the official SDKs do. Neither brings
	// back state that was cleared, or deleted and not made anew, in the
	// meantime.
	LastWriteWins bool

	storage Storage
	key     func(IDs) (key, missing string)
	perUser bool

	mu         sync.Mutex
	properties map[string]bool // the names of the scope's properties
	books      []string        // the names of its bookkeeping
}

// NewConversation returns the scope of conversations: what is shared by all
// users of a conversation.
func NewConversation(storage Storage) *Scope {
	return newScope(storage, func(ids IDs) (string, string) {
		return ids.Channel + "/conversations/" + ids.Conversation, missing(ids.Channel, ids.Conversation, "-")
	})
}

// NewUser returns the scope of users: what belongs to a user in all
// conversations of a channel.
func NewUser(storage Storage) *Scope {
	return newScope(storage, func(ids IDs) (string, string) {
		return ids.Channel + "/users/" + ids.User, missing(ids.Channel, "-", ids.User)
	})
}

// NewPrivateConversation returns the scope of users within conversations: what
// belongs to one user in one conversation.
func NewPrivateConversation(storage Storage) *Scope {
	s := newScope(storage, func(ids IDs) (string, string) {
		return ids.Channel + "/conversations/" + ids.Conversation + "/users/" + ids.User,
			missing(ids.Channel, ids.Conversation, ids.User)
	})
	s.perUser = true
	return s
}

// HasProperty reports whether [NewProperty] has made a property of that name.
func (s *Scope) HasProperty(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.properties[name]
}

// PerUser reports whether each user of a conversation has a document of their own in
// the scope, as in that of [NewPrivateConversation].
func (s *Scope) PerUser() bool { return s.perUser }

func newScope(storage Storage, key func(IDs) (string, string)) *Scope {
	if storage == nil {
		panic("state: nil Storage")
	}
	return &Scope{storage: storage, key: key}
}

// missing names the first empty id as the activity's JSON does.
func missing(channel, conversation, user string) string {
	switch "" {
	case channel:
		return "channelId"
	case conversation:
		return "conversation.id"
	case user:
		return "from.id"
	}
	return ""
}

// Key returns the storage key of the document that ctx is about. It fails with
// [ErrMissingID] if an id that the key is made of is empty, and with
// [ErrNoTurn].
func (s *Scope) Key(ctx context.Context) (string, error) {
	t, err := fromContext(ctx)
	if err != nil {
		return "", err
	}
	return s.keyOf(t.ids)
}

func (s *Scope) keyOf(ids IDs) (string, error) {
	key, missing := s.key(ids)
	if missing != "" {
		return "", fmt.Errorf("state: %w: the activity has no %s", ErrMissingID, missing)
	}
	if s.KeyForm == JavaScript {
		key += "/"
	}
	return key, nil
}

// Load reads the document now, even if it was read before. Changes that were
// not saved are dropped.
func (s *Scope) Load(ctx context.Context) error {
	e, err := s.entry(ctx)
	if err != nil {
		return err
	}
	if err := e.claim(ctx); err != nil {
		return err
	}
	defer e.release()
	return s.read(ctx, e)
}

// load returns the entry with its document, which it reads if need be.
func (s *Scope) load(ctx context.Context) (*entry, error) {
	e, err := s.entry(ctx)
	if err != nil || e.isLoaded() {
		return e, err
	}
	if err := e.claim(ctx); err != nil {
		return nil, err
	}
	defer e.release()
	if e.isLoaded() {
		return e, nil
	}
	return e, s.read(ctx, e)
}

// read replaces what e holds by what is stored. The caller has claimed e.
func (s *Scope) read(ctx context.Context, e *entry) error {
	doc, etag, err := s.fetch(ctx, e.key)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.loaded = true
	e.reset(doc, etag)
	return nil
}

func (s *Scope) fetch(ctx context.Context, key string) (doc object.Object, etag string, err error) {
	t, err := fromContext(ctx)
	if err != nil {
		return doc, "", err
	}
	t.asks()
	items, err := s.storage.Read(ctx, []string{key})
	t.answered(s, err)
	if err != nil {
		return doc, "", wrap(ctx, "read", key, err)
	}
	item, ok := items[key]
	if !ok {
		return doc, ETagNone, nil
	}
	if doc, err = object.Parse(item.Value); err != nil {
		return doc, "", wrap(ctx, "read", key, fmt.Errorf("%w: %w", ErrCorrupt, err))
	}
	return doc, item.ETag, nil
}

// write writes an item, and returns its new eTag.
func (s *Scope) write(ctx context.Context, key string, item *Item) (etag string, err error) {
	t, err := fromContext(ctx)
	if err != nil {
		return "", err
	}
	t.asks()
	etags, err := s.storage.Write(ctx, map[string]Item{key: *item})
	t.answered(s, err)
	return etags[key], err
}

// remove deletes an item.
func (s *Scope) remove(ctx context.Context, key string) error {
	t, err := fromContext(ctx)
	if err != nil {
		return err
	}
	t.asks()
	err = s.storage.Delete(ctx, []string{key})
	t.answered(s, err)
	return err
}

// Save writes the document if it was loaded in this turn and has changed
// since, and does nothing otherwise.
//
// The write names the version that was read. If somebody else has written in
// the meantime, Save reads again and puts this turn's changes on top, property
// by property; where both changed the same property, to the same value or not,
// the property's Merge function decides, else LastWriteWins, else Save fails
// with [ErrConflict]. It also fails so, whatever the options, if either side
// cleared the document, or somebody deleted it: old state does not come back,
// and nothing is cleared that somebody has just written. (A document that was
// deleted and made anew is taken for one that was changed.) After an ErrConflict
// nothing was written; [Scope.Load] starts anew.
//
// As long as somebody else is first each time, Save waits for up to 160 ms, at
// random, and tries again, until ctx is done. Its error then wraps that of ctx
// and tells how often others were first.
//
// After any other error, such as that of an answer that was lost, the document
// may have been written. If it was, or if that cannot be told from what somebody
// else wrote, a further Save in the turn fails, with an error that is no
// ErrConflict.
//
// If Save had to merge, a pointer, map or slice that Get has returned before may be
// out of date: get it again. Changing the old one makes the next Save fail with
// ErrConflict.
func (s *Scope) Save(ctx context.Context) error {
	t, err := fromContext(ctx)
	if err != nil {
		return err
	}
	t.mu.Lock()
	e := t.entries[s]
	t.mu.Unlock()
	if e == nil {
		return nil
	}
	if err := e.claim(ctx); err != nil {
		return err
	}
	defer e.release()
	conflicts, refusals, limit := 0, 0, saveWait
	for {
		item, doc, err := e.pending()
		if err != nil {
			return wrap(ctx, "write", e.key, err)
		}
		if item == nil {
			return nil
		}
		etag, err := s.write(ctx, e.key, item)
		if err == nil {
			t.stores()
			e.saved(doc, etag)
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			e.doubt()
			return outrun(ctx, e.key, conflicts, wrap(ctx, "write", e.key, err))
		}
		conflicts++
		timer := time.NewTimer(mathrand.N(limit))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return outrun(ctx, e.key, conflicts, ctx.Err())
		}
		limit = min(2*limit, maxSaveWait)
		theirs, etag, readErr := s.fetch(ctx, e.key)
		if readErr != nil {
			return outrun(ctx, e.key, conflicts, readErr)
		}
		if refusals++; etag != item.ETag {
			refusals = 0
		}
		if refusals == saveAttempts {
			return wrap(ctx, "write", e.key, err)
		}
		if err := e.rebase(theirs, etag, s.LastWriteWins); err != nil {
			return wrap(ctx, "write", e.key, err)
		}
	}
}

// Clear removes all properties but those named, for this turn at once and in
// the storage with the next Save. Bookkeeping stays. Of a document that has
// none but those it changes nothing.
func (s *Scope) Clear(ctx context.Context, keep ...string) error {
	e, err := s.load(ctx)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.flush(); err != nil {
		return wrap(ctx, "clear", e.key, err)
	}
	e.live = slices.DeleteFunc(e.live, func(l *liveValue) bool { return !slices.Contains(keep, l.name) })
	e.doc = e.cleared(&e.doc, keep)
	return nil
}

// Delete removes the document from the storage at once, and for this turn. If the
// scope has bookkeeping, the document stays with nothing else in it.
func (s *Scope) Delete(ctx context.Context) error {
	t, err := fromContext(ctx)
	if err != nil {
		return err
	}
	e, err := s.entry(ctx)
	if err != nil {
		return err
	}
	if err := e.claim(ctx); err != nil {
		return err
	}
	defer e.release()
	if len(e.books) > 0 {
		if err = s.deleteAllButBooks(ctx, e); err == nil {
			t.stores()
		}
		return err
	}
	if err := s.remove(ctx, e.key); err != nil {
		return wrap(ctx, "delete", e.key, err)
	}
	t.stores()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.loaded = true
	e.reset(object.Object{}, ETagNone)
	return nil
}

// ExpireAt gives the document a time to live: the storage may drop what this turn
// writes from t on, and not before. Only Cosmos DB, which counts in whole seconds, may
// drop it up to a second earlier. Without ExpireAt, and with the zero time, the
// storage's default holds. Times past or less than a second ahead count as a second
// from the write.
func (s *Scope) ExpireAt(ctx context.Context, t time.Time) error {
	e, err := s.entry(ctx)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.expires = t
	return nil
}

// entry returns this turn's entry of the scope, made on first use.
func (s *Scope) entry(ctx context.Context) (*entry, error) {
	t, err := fromContext(ctx)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.entries[s]; e != nil {
		return e, nil
	}
	key, err := s.keyOf(t.ids)
	if err != nil {
		return nil, err
	}
	if t.entries == nil {
		t.entries = make(map[*Scope]*entry)
	}
	s.mu.Lock()
	e := &entry{key: key, books: s.books}
	s.mu.Unlock()
	t.entries[s] = e
	return e, nil
}

// outrun adds to err how often somebody else's write came first, if that is why
// ctx is done.
func outrun(ctx context.Context, key string, conflicts int, err error) error {
	if conflicts == 0 || ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("state: write %q: others were first, %d times: %w", key, conflicts, err)
}

// wrap adds verb and key to err, unless err is that the context is done.
func wrap(ctx context.Context, verb, key string, err error) error {
	if ctxErr := ctx.Err(); ctxErr != nil && errors.Is(err, ctxErr) {
		return err
	}
	return fmt.Errorf("state: %s %q: %w", verb, key, err)
}
