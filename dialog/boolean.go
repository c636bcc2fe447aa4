package dialog

// yesNo are the words and signs for yes and no. They are those of the
// JavaScript SDK's recogniser, with yeah and yup, which its later releases
// have too and users write. A bare n is none: it stands for too many words.
var yesNo = map[string]bool{
	"true": true, "yes": true, "yep": true, "yup": true, "yeah": true, "y": true, "sure": true, "ok": true, "agree": true, "👍": true, "👌": true,
	"false": false, "nope": false, "nop": false, "no": false, "disagree": false, "👎": false, "🖐": false,
}

// recognizeBoolean finds the first word in a text that says yes or no. A yes
// that is negated, as in "not ok" and "I don't agree", says no, and "not sure"
// neither.
func recognizeBoolean(text string) (value, ok bool) {
	words := tokenize(text)
	for i, word := range words {
		value, ok := yesNo[word]
		if !ok {
			continue
		}
		if negated := isNegated(words[:i]); negated && word == "sure" {
			continue
		} else if negated {
			value = false
		}
		return value, true
	}
	return false, false
}

// isNegated reports whether the words before another say that it is not so.
func isNegated(words []string) bool {
	for _, word := range words[max(len(words)-3, 0):] {
		switch word {
		case "not", "t", "dont", "isnt", "cannot", "cant", "never": // the t of don't
			return true
		}
	}
	return false
}
