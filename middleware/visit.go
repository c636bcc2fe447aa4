package middleware

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
)

const (
	// defaultTurnTimeout is how long a turn takes at most if its adapter does not
	// say otherwise.
	defaultTurnTimeout = 2 * time.Minute

	// margin is how much longer a document lives than the turn that writes it.
	margin = 10 * time.Second

	// The input of a turn is stored before the handler if something falls due
	// within soon. Otherwise it is stored beside a handler that has been running
	// for long, if something falls due before the turn must end.
	soon = 10 * time.Second
	long = 5 * time.Second

	// maxSkew is how far ahead of this process's clock the clock of another may be.
	maxSkew = 10 * time.Second

	// storeTimeout bounds what a turn stores after its context may be done.
	storeTimeout = 10 * time.Second
)

var errAhead = errors.New("a record has an instant that is yet to come, which counts as now")

// isAhead reports whether something in r happens only after now, by more than the
// skew that clocks may have.
func isAhead(r policy.Record, now time.Time) bool {
	_, ahead := r.Clamp(now, maxSkew)
	return ahead
}

// A visit is what one turn finds in the record of its conversation, and what it
// changes there.
type visit struct {
	*Sessions
	turn  *bot.Turn
	key   string // of the conversation
	rules policy.Policy
	input bool      // the turn is user input
	look  *look     // the look that the turn is; nil for any other turn
	now   time.Time // when the turn arrived
	id    string    // of a session that begins in this turn; "" where none is recorded
	next  time.Time // when something is due, by the record that was found
	retry time.Time // when what is open is to be tried again; zero if it was not in vain
	fired []policy.Event
	of    string // the session in which they have

	taken     bool   // a rule has taken the user's message
	elsewhere bool   // somebody else does what was found open
	held      bool   // a hook has postponed or vetoed what was due
	announced bool   // it is stored that this turn tells what is open
	placed    bool   // the turn has its place in the channel
	told      bool   // what is open has been told
	answer    string // how that went, for the log

	mu      sync.Mutex
	at      policy.Place
	changes []change
	sent    []change      // those that must be stored even if the handler fails
	only    int           // if not 0, so many changes are stored, and the others are not yet
	record  policy.Record // with the changes
	last    computed
}

// A change is what a turn does to a record. Applied to a record that has it
// already, it has no effect.
type change func(policy.Record) policy.Record

// visitKey is the key under which the context of a turn holds its visit.
type visitKey struct{ *Sessions }

// visit returns the visit of a turn. It is nil for a look that has gone astray.
func (s *Sessions) visit(ctx context.Context, turn *bot.Turn) (*visit, error) {
	key, err := s.conversation.Key(ctx)
	if err != nil {
		return nil, err
	}
	v := &visit{Sessions: s, turn: turn, key: key, rules: *s.rules.Load(), now: turn.Arrived()}
	if l, ok := ctx.Value(lookKey{s}).(*look); ok && turn.Proactive() {
		if l.other = l.claim.Key != key; l.other {
			return nil, nil
		}
		v.look, l.visit = l, v
	}
	v.input = !turn.Proactive() && s.options.IsUserInput(turn) && (turn.Activity.Type == schema.Message || !v.rules.MessagesOnly())
	if s.options.Deadlines != nil || v.rules.Uses(policy.Began) {
		v.id = rand.Text()
	}
	if v.usesPeople() {
		turn.OnSent(v.observe)
	}
	return v, nil
}

// change makes a change, which is stored with the turn.
func (v *visit) change(c change) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.changes = append(v.changes, c)
	v.record = c(v.record)
}

// changeSent makes a change that says what was sent. It is stored even if the
// handler fails, because what was sent stays sent.
func (v *visit) changeSent(c change) {
	v.change(c)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sent = append(v.sent, c)
}

// find reads the record, and forgets all changes.
func (v *visit) find(ctx context.Context) (policy.Record, error) {
	values, err := v.books.Values(ctx)
	if err != nil {
		return policy.Record{}, err
	}
	found, err := decodeRecord(values)
	if err != nil {
		v.warn(ctx, "the record of a conversation could not be used", err)
	}
	v.forget()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.record = found
	return found, nil
}

// forget forgets the changes, because they are stored or because they are void.
func (v *visit) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.changes, v.sent, v.only, v.last = nil, nil, 0, computed{}
}

// current returns the record with the changes.
func (v *visit) current() policy.Record {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.record
}

// update is the state.UpdateFunc of the turn.
func (v *visit) update(values []json.RawMessage) (expires time.Time, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	last, in := v.last, 0
	if last.isFrom(last.to, values) {
		in = last.out // so many of the changes are stored
	}
	out := len(v.changes)
	if v.only > 0 {
		out = max(in, v.only)
	}
	if last.isFrom(last.from, values) && last.in == in && last.out == out {
		copy(values, last.to[:])
		return last.expires, nil
	}
	now := computed{from: [2]json.RawMessage(values), in: in, out: out}
	stored, _ := decodeRecord(values) // find has warned of what is wrong with it
	r := apply(stored, v.changes[in:out])
	if err := encodeRecord(values, r, stored); err != nil {
		return time.Time{}, err
	}
	now.to, now.expires = [2]json.RawMessage(values), v.expires(r)
	v.record, v.last = apply(r, v.changes[out:]), now
	return now.expires, nil
}

// computed is what update has computed: from what was stored, with the changes from
// in to out.
type computed struct {
	from, to [2]json.RawMessage
	in, out  int
	expires  time.Time
}

func (c *computed) isFrom(have [2]json.RawMessage, values []json.RawMessage) bool {
	return c.out > 0 && bytes.Equal(have[0], values[0]) && bytes.Equal(have[1], values[1])
}

func apply(r policy.Record, changes []change) policy.Record {
	for _, c := range changes {
		r = c(r)
	}
	return r
}

// expires returns when the storage may drop the document; zero for its default.
func (v *visit) expires(r policy.Record) time.Time {
	if len(v.options.Keep) > 0 {
		return time.Time{}
	}
	if r.Latest().IsZero() {
		r.Input = v.now // nobody has written yet: as if they did now
	}
	until := v.rules.Until(r, v.at, false)
	if until.IsZero() {
		return until
	}
	t := until.Add(v.options.Grace)
	if least := time.Now().Add(v.turnTimeout() + margin); t.Before(least) {
		return least
	}
	return t
}

func (v *visit) turnTimeout() time.Duration {
	if a := v.turn.Adapter(); a != nil && a.TurnTimeout > 0 {
		return a.TurnTimeout
	}
	return defaultTurnTimeout
}

// locate finds out where the conversation stands.
func (v *visit) locate(ctx context.Context) (policy.Place, error) {
	var at policy.Place
	if d := v.options.Dialogs; d != nil {
		var err error
		if at, err = d.Place(ctx); err != nil {
			return at, err
		}
	}
	at.Channel = v.turn.Activity.ChannelID
	v.mu.Lock()
	defer v.mu.Unlock()
	v.at = at
	return at, nil
}

// before carries out what is due, before the handler.
func (v *visit) before(ctx context.Context) error {
	if v.isRemoval() {
		return v.remove(ctx)
	}
	if err := v.judge(ctx); err != nil {
		return err
	}
	do := v.do
	if v.input {
		do = v.attend
	} else if v.elsewhere {
		return nil
	}
	if err := do(ctx); err != nil {
		return err
	}
	v.logFired(ctx)
	return nil
}

// isRemoval reports whether the bot was removed from the conversation.
func (v *visit) isRemoval() bool {
	a := &v.turn.Activity
	switch a.Type {
	case schema.InstallationUpdate:
		return a.Action == "remove" || a.Action == "remove-upgrade"
	case schema.ConversationUpdate:
		return slices.ContainsFunc(a.MembersRemoved, func(m schema.ChannelAccount) bool { return m.ID != "" && m.ID == a.Recipient.ID })
	}
	return false
}

// remove ends the session of a bot that was removed, which can tell nobody any
// more. The deadline finds nothing to do when it comes due.
func (v *visit) remove(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		found, err := v.find(ctx)
		if err != nil {
			return err
		}
		if found.Input.IsZero() && found.Began.IsZero() && found.Open == nil {
			return nil // the bot knows nobody here
		}
		v.change(func(r policy.Record) policy.Record {
			r = r.End(v.now)
			r.Open, r.Reference = nil, nil
			return r
		})
		if err := v.books.Update(ctx, v.update); err != nil {
			return err
		}
		if err = v.books.CommitCleared(ctx, v.options.Keep...); err == nil {
			v.forget()
			return nil
		}
		if !errors.Is(err, state.ErrConflict) {
			return err
		}
		if err := v.again(ctx, attempt); err != nil {
			return err
		}
	}
}

// again reads the conversation anew, after the n-th write of somebody else's.
func (v *visit) again(ctx context.Context, n int) error {
	if err := v.conversation.Load(ctx); err != nil {
		return err
	}
	timer := time.NewTimer(jitter(min(time.Duration(n)*5*time.Millisecond, 100*time.Millisecond)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// judge finds out what is due and stores it, and has the turn record user input.
func (v *visit) judge(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		at, err := v.locate(ctx)
		if err != nil {
			return err
		}
		found, err := v.find(ctx)
		if err != nil {
			return err
		}
		if now := time.Now(); isAhead(found, now) {
			v.warn(ctx, "a clock is or was ahead", errAhead)
			v.change(func(r policy.Record) policy.Record { r, _ = r.Clamp(now, maxSkew); return r })
			found = v.current()
		}
		verdict, err := v.verdict(ctx, found, at)
		if err != nil {
			return err
		}
		if v.next = verdict.Next; found.Open != nil && found.Open.Action != (policy.Action{}) {
			v.next = v.now
		}
		fires := len(verdict.Fired) > 0
		if fires || v.input {
			v.change(v.store(verdict, found))
		}
		if v.input {
			v.change(func(r policy.Record) policy.Record { return r.Arrive(v.now, v.id) })
			v.rememberSender()
		} else {
			v.reported(found)
		}
		if err := v.books.Update(ctx, v.update); err != nil {
			return err
		}
		if fires || v.held || v.input && !v.next.IsZero() && time.Until(v.next) <= soon {
			err := v.commit(ctx, at, verdict)
			if errors.Is(err, state.ErrConflict) {
				if err = v.again(ctx, attempt); err == nil {
					continue
				}
			}
			if err != nil {
				return err
			}
		}
		v.fired, v.of = verdict.Fired, found.Session
		if o := found.Open; o != nil && !fires && !v.isOf(o) && time.Since(o.At) < soon {
			v.leave(o)
		}
		v.ended(ctx, verdict, found)
		return nil
	}
}

// verdict returns what is due, after the hook was asked. The target of a Goto is
// found, because the state where it is looked up may be cleared with it.
func (v *visit) verdict(ctx context.Context, found policy.Record, at policy.Place) (policy.Verdict, error) {
	cause := policy.Look
	switch {
	case v.input:
		cause = policy.User
	case isSilence(&v.turn.Activity):
		cause = policy.NoInput
	}
	v.held = false
	verdict := v.rules.Due(found, at, v.now, cause)
	if len(verdict.Fired) > 0 && v.isOf(found.Open) {
		// The input that has been silent for so long is this one.
		return policy.Verdict{Cause: cause, Place: at, Next: v.now}, nil
	}
	if len(verdict.Fired) > 0 && v.options.Before != nil {
		f := v.ask(ctx, verdict)
		verdict.Action.Say, verdict.Action.OnReturn = f.Say, f.OnReturn
		held, ok := f.hold(found, v.now)
		if v.held = ok; ok {
			v.change(func(r policy.Record) policy.Record { held, _ := f.hold(r, v.now); return held })
			verdict = v.rules.Due(held, at, v.now, cause) // of what a veto leaves
		}
	}
	if verdict.Action.Goto == policy.Target {
		target, err := v.options.Dialogs.Target(ctx)
		if err != nil {
			return verdict, err
		}
		verdict.Action.Goto = target
	}
	return verdict, nil
}

// leave leaves what somebody else has just decided to them: another turn of the
// user's is about to tell them, or another turn is about to do it. If that does not
// come to it, a look will.
func (v *visit) leave(o *policy.Open) {
	switch {
	case o.Action == (policy.Action{}):
		v.elsewhere = true
	case v.input || v.armer == nil:
	case v.look == nil:
		v.elsewhere = true
	case v.look.claim.Attempts == 0: // or else an earlier look has tried it
		v.elsewhere, v.retry = true, o.At.Add(soon)
	}
}

// store returns the change that stores a verdict on the record that was found.
func (v *visit) store(verdict policy.Verdict, found policy.Record) change {
	fires := len(verdict.Fired) > 0
	decided := time.Now() // the turn may have waited since it arrived
	return func(r policy.Record) policy.Record {
		if v.isOf(r.Open) {
			return r // from a turn that came to nothing
		}
		r = v.rules.Apply(r, verdict, decided)
		if r.Open == nil {
			return r
		}
		open := *r.Open
		open.Events = nil // nobody listens
		if r.Open = &open; open.Action == (policy.Action{}) && !(v.input && fires && r.OnReturn != "") {
			r.Open = nil
			return r
		}
		if open.Activity = ""; v.input { // what a look adds is no activity's to do
			open.Activity = v.turn.Activity.ID
		}
		if verdict.Action.Say != "" {
			open.Due, open.Tried = verdict.Fired[len(verdict.Fired)-1].Due, false
		} else if found.Open != nil {
			open.Due, open.Tried = found.Open.Due, found.Open.Tried
		}
		return r
	}
}

// isOf reports whether o was decided in a turn of the same activity of the user's.
func (v *visit) isOf(o *policy.Open) bool {
	return v.input && o != nil && o.Activity != "" && o.Activity == v.turn.Activity.ID
}

// commit stores a verdict and the input at once, under the version that was judged.
func (v *visit) commit(ctx context.Context, at policy.Place, verdict policy.Verdict) error {
	if verdict.Action.End {
		at.Path, at.Patience = nil, nil
	}
	v.retry = time.Now().Add(soon) // if this turn does not come to do what is open
	v.arm(ctx, at, v.now)
	v.retry = time.Time{}
	v.announce()
	var err error
	if verdict.Action.End {
		err = v.books.CommitCleared(ctx, v.options.Keep...)
	} else {
		err = v.books.Commit(ctx)
	}
	if err == nil {
		v.forget()
	}
	return err
}

// ended tells the rest of the turn, and the program, how the session has ended, if
// a rule has ended it now or since the last user input.
func (v *visit) ended(ctx context.Context, verdict policy.Verdict, found policy.Record) {
	expiry := Expiry{LastAccessed: found.Input, Idle: v.now.Sub(found.Input)}
	if found.Input.IsZero() {
		expiry.Idle = 0
	}
	switch {
	case verdict.Action.End:
		last := verdict.Fired[len(verdict.Fired)-1]
		expiry.Rule, expiry.At, expiry.Timeout = last.Line, last.Due, last.Due.Sub(last.Mark)
	case !found.Ended.IsZero():
		for line, f := range found.Fired {
			if f.At.After(expiry.At) { // the last that fired, because nothing does after an end
				expiry.Rule, expiry.At, expiry.Timeout = line, f.At, f.At.Sub(f.Mark)
			}
		}
	}
	if expiry.Rule == "" {
		return
	}
	v.turn.SetValue(expiryKey{}, expiry)
	if verdict.Ends {
		countExpiry(ctx, v.turn, v.input)
		if v.options.OnEnd != nil {
			v.options.OnEnd(ctx, v.turn, expiry)
		}
	}
}

// handle runs the handler.
func (v *visit) handle(ctx context.Context, next bot.Handler) error {
	ended := false
	defer func() {
		if !ended { // by a panic; what was sent stays sent
			v.keepSent(ctx)
		}
	}()
	defer v.storeBeside(ctx)()
	err := next(ctx, v.turn)
	ended = true
	return err
}

// storeBeside stores input that was not stored before the handler beside it, if the
// handler takes long and something could fall due meanwhile. The function that it
// returns ends that.
func (v *visit) storeBeside(ctx context.Context) (stop func()) {
	v.mu.Lock()
	input := len(v.changes) // the changes that are the input's, and not the handler's
	v.mu.Unlock()
	if !v.input || input == 0 || v.next.IsZero() || v.next.Sub(v.now) > v.turnTimeout() {
		return func() {}
	}
	over, stored := make(chan struct{}), make(chan struct{})
	timer := time.AfterFunc(long, func() {
		defer close(stored)
		for {
			err := v.storeInput(ctx, input)
			if err == nil {
				return
			}
			v.warn(ctx, "input could not be stored beside its turn", err)
			select {
			case <-time.After(time.Second):
			case <-over:
				return
			}
		}
	})
	return func() {
		close(over)
		if !timer.Stop() {
			<-stored
		}
	}
}

// storeInput stores the first n changes, which are those of the input, while the
// handler is running.
func (v *visit) storeInput(ctx context.Context, n int) error {
	v.storeOnly(n)
	err := v.books.Commit(ctx)
	v.storeOnly(0)
	if !errors.Is(err, state.ErrConflict) {
		return err
	}
	// Whoever has written meanwhile is met by the save of the turn. Until then, what they
	// have written has to know of the input.
	return v.books.CommitAside(ctx, func(values []json.RawMessage) (time.Time, error) {
		v.mu.Lock()
		defer v.mu.Unlock()
		stored, _ := decodeRecord(values)
		r := stored
		if !stored.Ended.After(v.now) { // or else the save fails
			r = apply(stored, v.changes[:n])
		}
		return v.expires(r), encodeRecord(values, r, stored)
	})
}

// storeOnly has only the first n changes stored, or all for 0.
func (v *visit) storeOnly(n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.only = n
}

// keepSent stores what was sent in a turn that has failed.
func (v *visit) keepSent(ctx context.Context) {
	v.mu.Lock()
	v.changes, v.last = v.sent, computed{}
	v.mu.Unlock()
	if len(v.sent) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if err := v.books.Commit(ctx); err != nil {
		v.warn(ctx, "what a failed turn has told could not be stored", err)
	}
}

// after sees to it that the conversation is looked at again, after the handler and
// before the state is saved.
func (v *visit) after(ctx context.Context) error {
	at, err := v.locate(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	if d := v.options.Dialogs; d != nil && v.rules.Uses(policy.Asked) {
		q, err := d.Question(ctx, v.turn)
		if err != nil {
			return err
		}
		id := v.id
		if id == "" {
			id = rand.Text()
		}
		v.change(func(r policy.Record) policy.Record { return r.Ask(now, id, q) })
	}
	if v.look == nil {
		v.arm(ctx, at, now)
		return nil
	}
	next := v.nextLook(at, now)
	v.look.next = next
	// A look writes only so that the record is still there at the next one: the
	// policy may be longer than that under which the record was written.
	if r := v.current(); !next.IsZero() && len(v.fired) == 0 {
		kept := r.Kept
		if since := r.Latest().Add(v.options.Grace); kept.IsZero() || kept.Before(since) {
			kept = since
		}
		if needed := next.Add(v.turnTimeout() + margin); kept.Before(needed) {
			if expires := v.expires(r); !expires.IsZero() {
				v.change(func(r policy.Record) policy.Record { r.Kept = policy.Instant(expires); return r })
			}
		}
	}
	return nil
}

// nextLook returns when the conversation is to be looked at, by the record as it
// is with the changes; zero for never.
func (v *visit) nextLook(at policy.Place, now time.Time) time.Time {
	r := v.current()
	verdict := v.rules.Due(r, at, now, policy.Look)
	next := verdict.Next
	if len(verdict.Fired) > 0 {
		next = now
	}
	if r.Open != nil && r.Open.Action != (policy.Action{}) && !(v.elsewhere && v.look == nil) {
		retry := v.retry
		if retry.IsZero() {
			retry = now
		}
		if next.IsZero() || retry.Before(next) {
			next = retry
		}
	}
	return next
}

// logFired logs a line for each step that has fired.
func (v *visit) logFired(ctx context.Context) {
	for _, e := range v.fired {
		outcome := v.answer
		switch {
		case outcome != "":
		case v.input:
			outcome = "on input"
		default:
			outcome = "done"
		}
		v.logStep(ctx, "fired", e.Line, e.Due, outcome, slog.String("kind", e.Kind))
	}
}

// logStep logs a line about a step of a rule that was due.
func (v *visit) logStep(ctx context.Context, message, rule string, due time.Time, outcome string, more ...slog.Attr) {
	late := v.now.Sub(due)
	v.turn.Logger().LogAttrs(ctx, slog.LevelInfo, message, append([]slog.Attr{
		slog.String("rule", rule), slog.String("session", v.of),
		slog.Time("due", due), slog.Duration("late", late), slog.String("outcome", outcome)}, more...)...)
	lateness.Record(ctx, late.Seconds(), metric.WithAttributes(attribute.String("outcome", outcome)))
}

// warn logs what went wrong without failing the turn.
func (v *visit) warn(ctx context.Context, message string, err error) {
	v.turn.Logger().WarnContext(ctx, message, "error", v.turn.Redact(err))
}
