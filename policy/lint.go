package policy

import (
	"fmt"
	"strings"
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

// check returns what no policy may have.
func (p Policy) check() Problems {
	var problems Problems
	for i := range p.lines {
		l := &p.lines[i]
		bad := func(key, format string, args ...any) {
			problems = append(problems, Problem{Rule: l.id, Key: key, Text: fmt.Sprintf(format, args...)})
		}
		switch {
		case l.Name == "":
			bad("name", "is missing in rule %d", i+1)
		case strings.Contains(l.Name, "#"):
			bad("name", `must not hold "#", because the second rule of a name is called name#2`)
		case !utf8.ValidString(l.Name):
			bad("name", "must be UTF-8")
		}
		if l.Since < Input || l.Since > Resolved {
			bad("since", "%v is no mark", l.Since)
		}
		step := func(key string, times int, do Action) {
			if times < 0 || times > MaxTimes {
				bad(key+"times", "is %d, and may be 0 to %d", times, MaxTimes)
			}
			if do.Close && !do.End {
				bad(key+"do.close", "needs end")
			}
		}
		step("", l.Times, l.Do)
		for n, s := range l.Then {
			step(fmt.Sprintf("then[%d].", n), s.Times, s.Do)
		}
	}
	return problems
}
