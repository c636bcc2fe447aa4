package english

import (
	"slices"
	"strings"
)

// yesNo are the words and signs for yes and no. They are those of the
// JavaScript SDK's recogniser, with yeah and yup, which its later releases
// have too and users write. A bare n is none: it stands for too many words.
var yesNo = map[string]bool{
	"true": true, "yes": true, "yep": true, "yup": true, "yeah": true, "y": true, "sure": true, "ok": true, "agree": true, "👍": true, "👌": true,
	"false": false, "nope": false, "nop": false, "no": false, "disagree": false, "👎": false, "🖐": false,
}

// Boolean finds the first word in a text that says yes or no. A yes that is
// negated in its clause, as in "not ok" and "I don't agree", says no, and "not
// sure" neither.
func Boolean(text string) (value, ok bool) {
	for clause := range strings.FieldsFuncSeq(text, func(c rune) bool { return strings.ContainsRune(".,;:!?", c) }) {
		words := tokenize(clause)
		for i, word := range words {
			value, ok := yesNo[word]
			if !ok {
				continue
			}
			if negated := isNegated(words[:i]); negated && word == "sure" {
				continue
			} else if negated && !(word == "agree" && i+1 < len(words) && words[i+1] == "more") {
				value = false
			}
			return value, true
		}
	}
	return false, false
}

// isNegated reports whether the words before another say that it is not so.
func isNegated(words []string) bool {
	for len(words) > 0 && slices.Contains([]string{"a", "the", "really", "so", "that"}, words[len(words)-1]) {
		words = words[:len(words)-1]
	}
	n := len(words)
	if n == 0 {
		return false
	}
	switch words[n-1] {
	case "not":
		return n == 1 || words[n-2] != "why"
	case "dont", "isnt", "cannot", "cant", "never":
		return true
	case "t": // the end of don't
		return n > 1 && (strings.HasSuffix(words[n-2], "n") || words[n-2] == "t")
	}
	return false
}
