package policy

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// A Record says what happened in a conversation, and when. It is one property of
// the conversation state, "botlapse.session"; only Input stands elsewhere, under
// "lastAccessed", because the bots of other SDKs read it there. The zero Record
// is that of a new conversation, and parts that are zero are not stored.
//
// Methods return a changed copy and leave the record, and what it refers to, as it
// was. Now is the instant at which it happened. They keep instants as [Instant]
// returns them, so what is in memory is what is stored. If another turn has stored
// the record meanwhile, the methods of this turn are called again, in the same
// order and with the same instants, on what is stored now: of each mark the later
// instant wins.
type Record struct {
	// Input is the time of the last user input, in this session or before. The
	// mark [Input] is the latest of it, HandedOff and Began.
	Input time.Time `json:"-"`

	// Session is the id of the session, and Began when it began. Both are zero
	// where sessions are not recorded: with Input there is a session all the same,
	// until Ended. After Ended they are those of the session that has ended.
	Session string    `json:"session,omitempty"`
	Began   time.Time `json:"began,omitzero"`

	// Asked is when the bot had finished asking the question that waits; zero
	// without one. After Ended it is of a question that was put since.
	Asked time.Time `json:"asked,omitzero"`

	Resolved time.Time `json:"resolved,omitzero"` // zero: not resolved
	Ended    time.Time `json:"ended,omitzero"`    // zero: not ended

	// By is who answers; "" is the bot. HandedOff is when that changed last, zero
	// for not since the last End.
	By        string    `json:"by,omitempty"`
	HandedOff time.Time `json:"handed_off,omitzero"`

	// OnReturn is what the user is to be told with their next input.
	OnReturn string `json:"on_return,omitempty"`

	// Postponed is until when the program, and Held until when the hook, has
	// postponed all rules. What would be due before is due then, and later steps
	// count from there. User input ends both, and so does any End.
	Postponed time.Time `json:"postponed,omitzero"`
	Held      time.Time `json:"held,omitzero"`

	// Armed is the deadline that was armed last. One in the past counts as none.
	Armed time.Time `json:"armed,omitzero"`

	// Senders are hashes of those who wrote last, which its owner makes; the newest is
	// last.
	Senders []string `json:"senders,omitempty"`

	// Kept is until when the storage keeps the record at least, if a look has
	// written it for no other reason; zero if none has.
	Kept time.Time `json:"kept,omitzero"`

	// Reference is what is needed to write to the conversation, as its owner
	// encodes it.
	Reference json.RawMessage `json:"reference,omitempty"`

	// Seq is how many events the session has had.
	Seq int `json:"seq,omitempty"`

	// Fired says by line, such as "idle" or "idle#2", what has fired since the
	// last user input; of lines since Began, in the session.
	Fired map[string]Fired `json:"fired,omitempty"`

	// Open is what was decided and stored, and is not yet done. Nil is nothing.
	Open *Open `json:"open,omitempty"`
}

// Fired says what a line has done. A mark that moves does not change the count.
type Fired struct {
	Since Mark      `json:"since,omitempty"` // the line's mark,
	Mark  time.Time `json:"mark,omitzero"`   // and its value when the line fired last
	Times int       `json:"times,omitempty"` // how many steps are done, where each time of a step counts

	// At is what the next step counts from, if the mark is not later: the instant
	// at which the last step was due, or, of lines since Asked, at which it fired.
	At time.Time `json:"at,omitzero"`

	Vetoed bool `json:"vetoed,omitempty"` // by a hook: silent until the next user input
}

// Open is what is stored and not yet done. Whoever finds it can do it without the
// policy, and without the state, which is cleared.
type Open struct {
	// Action is what is to be done: Say, Ask, Goto, Close and Take. What is to be
	// told on return is [Record.OnReturn], and what ends has ended.
	Action Action `json:"action,omitzero"`

	// Covers is set if OnReturn is void once Say has got through, because Say is of
	// the same firing or of a later one.
	Covers bool `json:"covers,omitempty"`

	// Place is where the conversation stood, Rule the line that decided, and Input
	// what the mark Input was, for the dialog that Goto begins.
	Place Place     `json:"place,omitzero"`
	Rule  string    `json:"rule,omitempty"`
	Input time.Time `json:"input,omitzero"`

	// At is when it was decided; it tells one Open from another. Zero: there is
	// nothing to do, only events to deliver.
	At time.Time `json:"at,omitzero"`

	// Due is when the step whose Say it is was due: the latest of all that are
	// open. Tried is whether somebody has begun to say it, and it is not known
	// whether it got through; who says it at most once keeps that here. Both are
	// set by who runs the turn.
	Due   time.Time `json:"due,omitzero"`
	Tried bool      `json:"tried,omitempty"`

	// Activity is the id of the user's activity in whose turn it was decided, and
	// is set by who runs the turn; "" is none. The same activity, delivered again,
	// does what is open.
	Activity string `json:"activity,omitempty"`

	// Events are those that nobody else has yet.
	Events []Event `json:"events,omitempty"`
}

// An Event is a step that fired, or what the program did: it ended, resolved or
// handed off the conversation. Session and Seq together name it.
type Event struct {
	Kind    string    `json:"kind,omitempty"`    // empty, in a verdict: an End that ends nothing, which is no event
	Session string    `json:"session,omitempty"` // the session that it belongs to
	Seq     int       `json:"seq,omitempty"`     // its place among the events of the session, from 1
	Line    string    `json:"line,omitempty"`    // the line that fired; "" if the program did it
	Since   Mark      `json:"since,omitempty"`   // the line's mark,
	Mark    time.Time `json:"mark,omitzero"`     // and its value
	Times   int       `json:"times,omitempty"`   // which step of the line it is, from 1, where each time of a step counts
	Due     time.Time `json:"due,omitzero"`      // when it was due, after what was postponed and held; of a cause from outside: now
	At      time.Time `json:"at,omitzero"`       // when it was decided
	By      string    `json:"by,omitempty"`      // of KindHandedOff: who answers now
}

// The kinds of events: that of a step is what is strongest in its action.
const (
	KindEnded      = "ended"      // End of a session under way, or the program ended it
	KindRedirected = "redirected" // Goto
	KindAsked      = "asked"      // Ask
	KindReminded   = "reminded"   // Say
	KindDue        = "due"        // OnReturn alone, or no action: the program alone is told
	KindResolved   = "resolved"   // the program resolved it
	KindHandedOff  = "handed_off" // the program handed it off
)

// Instant returns t as records keep it: in UTC, rounded up to the 100 ns that
// .NET reads, so that nothing fires early.
func Instant(t time.Time) time.Time {
	t = t.UTC().Round(0)
	if cut := t.Truncate(100 * time.Nanosecond); !cut.Equal(t) {
		t = cut.Add(100 * time.Nanosecond)
	}
	return t
}

// answers returns who answers.
func (r *Record) answers() string { return cmp.Or(r.By, bot) }

const bot = "bot"

// underWay reports whether there is a session that has not ended.
func (r *Record) underWay() bool {
	return r.Ended.IsZero() && !(r.Input.IsZero() && r.Began.IsZero())
}

func (r *Record) mark(m Mark) time.Time {
	switch m {
	case Input:
		return later(later(r.Input, r.HandedOff), r.Began)
	case Began:
		return r.Began
	case Asked:
		return r.Asked
	default:
		return r.Resolved
	}
}

// answerable reports whether a cause from outside may count: a question waits,
// nothing is postponed, and no line has fired for this value of Asked.
func (r *Record) answerable(now time.Time) bool {
	if r.Asked.IsZero() || r.Postponed.After(now) || r.Held.After(now) {
		return false
	}
	for _, f := range r.Fired {
		if f.Since == Asked && f.Mark.Equal(r.Asked) {
			return false
		}
	}
	return true
}

// begin begins a session. Who answers and what is to be told stay, and so does a
// question that waits: what has fired for it has, although the count begins anew.
func (r *Record) begin(now time.Time, session string) {
	var kept map[string]Fired
	for id, f := range r.Fired {
		if f.Since == Asked && !f.Mark.IsZero() && !r.Asked.IsZero() {
			if kept == nil {
				kept = make(map[string]Fired)
			}
			kept[id] = Fired{Since: Asked, Mark: f.Mark, At: f.At}
		}
	}
	r.Session, r.Began, r.Ended, r.Seq, r.Fired = session, now, time.Time{}, 0, kept
}

// end ends the session, if one is under way, and gives the conversation back to
// the bot.
func (r *Record) end(now time.Time) {
	if r.underWay() {
		r.Ended = now
	}
	r.By, r.HandedOff, r.Asked, r.Resolved, r.Postponed, r.Held = "", time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
}

// tell adds events.
func (r *Record) tell(events ...Event) {
	var open Open
	if r.Open != nil {
		open = *r.Open
	}
	open.Events = slices.Concat(open.Events, events)
	for i := range events {
		r.Seq++
		e := &open.Events[len(open.Events)-len(events)+i]
		e.Session, e.Seq = r.Session, r.Seq
	}
	r.Open = &open
}

// undone returns what is left of o if nothing of it is to be done: its events.
func (o *Open) undone() *Open {
	if o == nil || len(o.Events) == 0 {
		return nil
	}
	return &Open{Events: o.Events}
}

// Clamp returns r with what happened later than skew from now set to now, because
// clocks were ahead: such a mark would hold all that counts from it. It reports whether
// there was any.
func (r Record) Clamp(now time.Time, skew time.Duration) (Record, bool) {
	limit, now := now.Add(skew), Instant(now)
	clamped := false
	clamp := func(t *time.Time) {
		if t.After(limit) {
			*t, clamped = now, true
		}
	}
	for _, t := range []*time.Time{&r.Input, &r.Began, &r.Asked, &r.Resolved, &r.Ended, &r.HandedOff} {
		clamp(t)
	}
	r.Fired = maps.Clone(r.Fired)
	for id, f := range r.Fired {
		clamp(&f.Mark)
		clamp(&f.At)
		r.Fired[id] = f
	}
	return r, clamped
}

// Arrive returns r after user input. Counts start anew but those of lines since
// Began; Asked, Resolved and what was postponed, held or vetoed is gone. If there
// is no session, or it has ended, one of the given id begins, and all counts
// start anew. With the id "" a session is not recorded: Began stays zero. OnReturn
// and Open stay until they are done; [Policy.Apply] drops what the user's return
// makes needless.
func (r Record) Arrive(now time.Time, session string) Record {
	now = Instant(now)
	if !r.underWay() {
		r.begin(now, session)
		if session == "" {
			r.Began = time.Time{}
		}
	} else if session != "" && r.Began.IsZero() { // was not recorded before
		r.Session, r.Began = session, now
	}
	r.Input = later(r.Input, now)
	r.Asked, r.Resolved, r.Postponed, r.Held = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	var kept map[string]Fired
	for id, f := range r.Fired {
		if f.Since == Began && f.Times > 0 {
			if kept == nil {
				kept = make(map[string]Fired)
			}
			f.Vetoed = false
			kept[id] = f
		}
	}
	r.Fired = kept
	return r
}

// Begin returns r after the program began a session of the given id, because it
// wants an answer without having been written to. All counts start anew. It does
// nothing while a session is under way.
func (r Record) Begin(now time.Time, session string) Record {
	if !r.underWay() {
		r.begin(Instant(now), session)
	}
	return r
}

// A Question says what a turn did about the question that waits.
type Question struct {
	Waits  bool // a prompt waits at the end of the turn
	Put    bool // the turn put that prompt, or put it again
	Sent   bool // the turn sent something
	Speaks bool // the channel says when it has finished speaking
	Spoken bool // this turn is that report
}

// Ask returns r at the end of a turn. Asked is set if the turn put the prompt that
// waits, or if it sent something while Asked was not set and the bot answers:
// where a person answers, what is sent is theirs. It is removed if no prompt
// waits. On a channel that says when it has finished speaking, putting a prompt
// removes it, and the report of another turn sets it. The first question of a
// conversation that never had a session begins one of the given id.
func (r Record) Ask(now time.Time, session string, q Question) Record {
	now = Instant(now)
	var set bool
	switch {
	case !q.Waits, q.Speaks && q.Put:
		r.Asked = time.Time{}
	case q.Speaks:
		set = q.Spoken
	default:
		set = q.Put || q.Sent && r.Asked.IsZero() && r.By == ""
	}
	if set {
		r.Asked = later(r.Asked, now)
		if r.Input.IsZero() && r.Began.IsZero() {
			r.begin(now, session)
		}
	}
	return r
}

// Resolve returns r after the matter was settled. Resolving again, and without a
// session under way, does nothing.
func (r Record) Resolve(now time.Time) Record {
	if r.underWay() && r.Resolved.IsZero() {
		r.Resolved = Instant(now)
		r.tell(Event{Kind: KindResolved, At: r.Resolved})
	}
	return r
}

// HandOff returns r after who answers has changed: to "bot", "nobody", or who has
// taken over. Asked is removed. Handing off to who answers already does nothing.
func (r Record) HandOff(now time.Time, to string) Record {
	if to == bot {
		to = ""
	}
	if r.By != to {
		r.By, r.HandedOff, r.Asked = to, later(r.HandedOff, Instant(now)), time.Time{}
		r.tell(Event{Kind: KindHandedOff, At: Instant(now), By: r.answers()})
	}
	return r
}

// Postpone returns r with nothing due before d from now, or before what was
// postponed already.
func (r Record) Postpone(now time.Time, d time.Duration) Record {
	if d > 0 {
		r.Postponed = later(r.Postponed, Instant(now.Add(d)))
	}
	return r
}

// End returns r after the program ended the session. What was to be said, now or
// on return, asked or gone to is dropped, and the bot answers. The state is to be
// cleared even where there was no session to end.
func (r Record) End(now time.Time) Record {
	now = Instant(now)
	open := r.Open.undone()
	if r.Open != nil && r.Open.Action.Close {
		open = &Open{Action: Action{Close: true}, Place: r.Open.Place, At: r.Open.At, Events: r.Open.Events}
	}
	r.Open, r.OnReturn = open, ""
	ends := r.underWay()
	if r.end(now); ends {
		r.tell(Event{Kind: KindEnded, At: now})
	}
	return r
}

// Hold returns r with the verdict held for d, because a hook asked for it, but
// until MaxHold after the verdict's First at the latest. It reports false, and
// returns r as it was, from then on: the verdict is to be carried out.
func (r Record) Hold(now time.Time, v Verdict, d time.Duration) (Record, bool) {
	last := v.First.Add(MaxHold)
	if len(v.Fired) == 0 || d <= 0 || !now.Before(last) {
		return r, false
	}
	if until := now.Add(d); until.Before(last) {
		last = until
	}
	r.Held = Instant(last)
	return r, true
}

// Veto returns r with the lines of the verdict silent until the user writes,
// because a hook said so. Other lines go on: what an End in the verdict had kept from
// counting may be due now. It reports false, and returns r as it was, from MaxHold
// after the verdict's First on.
func (r Record) Veto(now time.Time, v Verdict) (Record, bool) {
	if len(v.Fired) == 0 || !now.Before(v.First.Add(MaxHold)) {
		return r, false
	}
	fired := make(map[string]Fired, len(r.Fired)+len(v.Fired))
	maps.Copy(fired, r.Fired)
	for _, e := range v.Fired {
		f := fired[e.Line]
		f.Since, f.Vetoed = e.Since, true
		fired[e.Line] = f
	}
	r.Fired = fired
	return r, true
}

// Done returns r after done, which was its Open, has been done, but for the
// events. Told says that its Say has got through. If something was folded into
// what is open meanwhile, that stays, because it is not done.
func (r Record) Done(done Open, told bool) Record {
	if r.Open != nil && r.Open.At.Equal(done.At) {
		if told && r.Open.Covers {
			r.OnReturn = ""
		}
		r.Open = r.Open.undone()
	}
	return r
}

// Delivered returns r without these events, because somebody else has them.
func (r Record) Delivered(events []Event) Record {
	if r.Open == nil {
		return r
	}
	open := *r.Open
	open.Events = slices.DeleteFunc(slices.Clone(open.Events), func(e Event) bool {
		return slices.ContainsFunc(events, func(has Event) bool { return has.Session == e.Session && has.Seq == e.Seq })
	})
	if r.Open = &open; open.At.IsZero() {
		r.Open = open.undone()
	}
	return r
}

// Latest returns when the last of all that the record knows happened; zero if
// nothing has.
func (r Record) Latest() time.Time {
	latest := later(later(r.Input, r.Began), later(r.Asked, r.Resolved))
	return later(latest, later(r.Ended, r.HandedOff))
}

// NeedsArming reports whether a deadline is to be armed for next, the Next of a
// verdict: if there is one, and what is armed is past or later.
func (r Record) NeedsArming(next, now time.Time) bool {
	return !next.IsZero() && (!r.Armed.After(now) || r.Armed.After(next))
}
