package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A Problem is what is wrong with a policy.
type Problem struct {
	Warning      bool   // it works, but probably not as it is meant
	Line, Column int    // where it stands in the document, from 1; 0 if there is none
	Rule         string // the line of the policy, such as "idle#2"; "" if it is of none
	Key          string // the key in JSON, such as "do.end"
	Text         string
}

func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "%d:%d: ", p.Line, p.Column)
	}
	if p.Warning {
		b.WriteString("warning: ")
	}
	if p.Rule != "" {
		fmt.Fprintf(&b, "rule %q: ", p.Rule)
	}
	if p.Key != "" {
		fmt.Fprintf(&b, "%s: ", p.Key)
	}
	b.WriteString(p.Text)
	return b.String()
}

// Problems are all that is wrong with a policy, one a line.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// check reports what no policy may have.
func (p Policy) check(bad func(i int, key, text string)) {
	for i := range p.lines {
		l := &p.lines[i]
		switch {
		case l.Name == "":
			bad(i, "name", "is missing")
		case strings.Contains(l.Name, "#"):
			bad(i, "name", `must not hold "#", because the second rule of a name is called name#2`)
		case !utf8.ValidString(l.Name):
			bad(i, "name", "is not UTF-8")
		}
		if l.Since < Input || l.Since > Resolved {
			bad(i, "since", fmt.Sprintf("%v is no mark", l.Since))
		}
		step := func(key string, times int, do Action) {
			if times < 0 || times > MaxTimes {
				bad(i, key+"times", fmt.Sprintf("must be from 0 to %d", MaxTimes))
			}
			if do.Close && !do.End {
				bad(i, key+"do.close", "needs end")
			}
		}
		step("", l.Times, l.Do)
		for n, s := range l.Then {
			step(fmt.Sprintf("then[%d].", n), s.Times, s.Do)
		}
	}
}

// An Env is what a policy runs in. The zero Env has deadlines, and dialogs of which
// nothing is known.
type Env struct {
	NoDeadlines bool          // rules are looked at only when somebody writes
	NoDialogs   bool          // nothing asks, and nothing says where a conversation stands
	Dialogs     []string      // the ids of dialogs, steps and prompts; nil: not known
	Channels    []string      // the channels that there are; nil: those of Bot Framework
	Private     bool          // the scope is that of private conversations, where By and Resolved are not known
	TTL         time.Duration // what the storage drops after it was not written for so long; 0: nothing
}

// Lint returns what is wrong with the policy where it runs: errors, such as a rule
// that is never reached, and warnings of what is probably not meant. The problems
// have no line and column.
func (p Policy) Lint(env Env) []Problem {
	var problems []Problem
	for i := range p.lines {
		l := &p.lines[i]
		report := func(warning bool, key, format string, args ...any) {
			problems = append(problems, Problem{Warning: warning, Rule: l.id, Key: key, Text: fmt.Sprintf(format, args...)})
		}
		p.lintWhen(l, env, report)
		if l.total == 0 {
			continue // an exception does nothing
		}
		p.lintClock(l, env, report)
		lintStep := func(key string, do Action) {
			l.lintStep(env, do, func(warning bool, k, format string, args ...any) { report(warning, key+k, format, args...) })
		}
		lintStep("do.", l.Do)
		for n, s := range l.Then {
			lintStep(fmt.Sprintf("then[%d].do.", n), s.Do)
		}
	}
	return problems
}

type report func(warning bool, key, format string, args ...any)

// lintWhen looks at where a line holds.
func (p Policy) lintWhen(l *line, env Env, report report) {
	if p.shadowed(l) {
		report(false, "when", "is never in force, because earlier rules of its name hold wherever it does")
	}
	if env.Private && l.When.By != "" {
		report(false, "when.by", "is not known in private conversations")
	}
	channels := env.Channels
	if channels == nil {
		channels = knownChannels
	}
	for _, channel := range l.When.Channels {
		if !slices.Contains(channels, channel) {
			report(true, "when.channels", "%q is no channel that is known", channel)
		}
	}
	for _, id := range l.When.At {
		switch {
		case id == "":
		case env.NoDialogs:
			report(false, "when.at", "%q needs dialogs", id)
		case env.Dialogs != nil && !slices.Contains(env.Dialogs, id):
			report(true, "when.at", "%q is no dialog, step or prompt that is known", id)
		}
	}
}

// knownChannels are those of Bot Framework and of package voice.
var knownChannels = strings.Fields("agents alexa console cortana directline directlinespeech email emulator facebook groupme kik line " +
	"m365extensions msteams omnichannel outlook skype skypeforbusiness slack sms telegram telephony test twilio-sms voice webchat")

// lintClock looks at when the steps of a line are due.
func (p Policy) lintClock(l *line, env Env, report report) {
	inDialog := slices.ContainsFunc(l.When.At, func(id string) bool { return id != "" })
	switch {
	case env.Private && l.Since == Resolved:
		report(false, "since", "resolved is not known in private conversations")
	case env.NoDialogs && l.Since == Asked:
		report(false, "since", "asked needs dialogs")
	case inDialog && !l.OnlyOnInput && (l.Since == Input || l.Since == Began):
		report(true, "since", "asked is probably meant, because the rule holds only in some dialog")
	}
	timer := func(later line) bool { return later.Name == l.Name && !later.OnlyOnInput && later.total > 0 }
	if l.OnlyOnInput && slices.ContainsFunc(p.lines[l.index:], timer) {
		report(true, "only_on_input", "keeps later timers of its name out of force where it holds")
	}
	var due time.Duration
	for n := range l.steps {
		s, key := &l.steps[n], "after"
		if n > 0 {
			key = fmt.Sprintf("then[%d]", n-1)
		}
		if by := p.endedBefore(l, saturated(due, s.After)); by != "" {
			report(false, key, "is never reached, because rule %q ends the session before", by)
			return
		}
		if s.Do.End && l.Since != Asked && (s.Times > 1 || n+1 < len(l.steps)) {
			report(false, key, "ends the session, so that what comes after it is never reached")
			return
		}
		for range s.Times {
			due = saturated(due, s.After)
		}
	}
	if env.TTL > 0 && due > env.TTL {
		report(true, "after", "lasts %v, and the storage keeps conversations for %v", due, env.TTL)
	}
}

// lintStep looks at what a step does.
func (l *line) lintStep(env Env, do Action, report report) {
	if env.NoDialogs && do.Ask {
		report(false, "ask", "needs dialogs")
	}
	switch {
	case do.Goto == "":
	case env.NoDialogs:
		report(false, "goto", "needs dialogs")
	case do.Goto != Target && env.Dialogs != nil && !slices.Contains(env.Dialogs, do.Goto):
		report(true, "goto", "%q is no dialog that is known", do.Goto)
	}
	said := do.Say != ""
	if said && l.Since != Began && (l.OnlyOnInput || env.NoDeadlines) {
		said = false
		report(true, "say", "is never said, because the rule is looked at when the user writes; on_return is told then")
	}
	if do.End && !said && !do.Close && do.OnReturn == "" && do.Goto == "" {
		report(true, "end", "is never told to the user")
	}
}

// shadowed reports whether earlier lines of its name hold wherever l does.
func (p Policy) shadowed(l *line) bool {
	return !slices.ContainsFunc(l.When.parts(), func(part When) bool {
		for i := l.before; i >= 0; i = p.lines[i].before {
			if part.within(p.lines[i].When) {
				return false
			}
		}
		return true
	})
}

// endedBefore returns a line that, wherever l is in force, has ended the session
// when a step of l is due so long after its mark, or "". Nothing is said of lines
// since Asked, because a session that has ended can still ask.
func (p Policy) endedBefore(l *line, due time.Duration) string {
	if l.Since == Asked {
		return ""
	}
	for i := range p.lines {
		by := &p.lines[i]
		if by.Name != l.Name && !slices.ContainsFunc(l.When.parts(), func(part When) bool { return !p.endsWithin(part, by, l, due) }) {
			return by.id
		}
	}
	return ""
}

// endsWithin reports whether, wherever part holds, by or an earlier line of its name
// that is in force instead ends the session before l is due.
func (p Policy) endsWithin(part When, by, l *line, due time.Duration) bool {
	if !part.within(by.When) {
		return false
	}
	for {
		if part.meets(by.When) && !by.endsBefore(l, due) {
			return false
		}
		if by.before < 0 {
			return true
		}
		by = &p.lines[by.before]
	}
}

func (l *line) endsBefore(other *line, due time.Duration) bool {
	if l.OnlyOnInput || l.Since != other.Since {
		return false
	}
	var end time.Duration
	for i := range l.steps {
		s := &l.steps[i]
		if end = saturated(end, s.After); s.Do.End {
			return end < due || end == due && (other.OnlyOnInput || l.index < other.index)
		}
		for range s.Times - 1 {
			end = saturated(end, s.After)
		}
	}
	return false
}

// parts splits w into parts that name one channel and one id at most.
func (w When) parts() []When {
	var parts []When
	for _, channels := range singles(w.Channels) {
		for _, at := range singles(w.At) {
			parts = append(parts, When{channels, at, w.By})
		}
	}
	return parts
}

func singles(list []string) [][]string {
	if len(list) == 0 {
		return [][]string{nil}
	}
	return slices.Collect(slices.Chunk(list, 1))
}

// within reports whether outer holds wherever w, a part, does.
func (w When) within(outer When) bool {
	inside := func(part, all []string) bool {
		return len(all) == 0 || len(part) > 0 && slices.Contains(all, part[0])
	}
	return inside(w.Channels, outer.Channels) && inside(w.At, outer.At) && (outer.By == "" || outer.By == w.By)
}

// meets reports whether w, a part, and other may hold at once. Several ids may be on
// one path, but none is where no dialog is under way.
func (w When) meets(other When) bool {
	common := len(w.Channels) == 0 || len(other.Channels) == 0 || slices.Contains(other.Channels, w.Channels[0])
	idle := func(at []string) bool { return len(at) == 0 || slices.Contains(at, "") }
	busy := func(at []string) bool {
		return len(at) == 0 || slices.ContainsFunc(at, func(id string) bool { return id != "" })
	}
	return common && (w.By == "" || other.By == "" || w.By == other.By) &&
		(idle(w.At) && idle(other.At) || busy(w.At) && busy(other.At))
}
