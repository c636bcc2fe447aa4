package dialog

import "github.com/botlapse/botlapse/dialog/english"

// A Choice is one of those that a prompt offers.
type Choice struct {
	// Value is what is shown, and what a choice prompt ends with.
	Value string `json:"value"`

	// Synonyms are other words for it, by which it can be chosen too.
	Synonyms []string `json:"synonyms,omitempty"`
}

// A FoundChoice is the answer to a choice prompt.
type FoundChoice struct {
	Value   string  `json:"value"`             // that of the choice
	Index   int     `json:"index"`             // which of the choices it is, from 0
	Score   float64 `json:"score"`             // how well the answer fits, up to 1
	Synonym string  `json:"synonym,omitempty"` // what was recognised: value, synonym, or a word for the number
}

// Choices returns choices with these values.
func Choices(values ...string) []Choice {
	choices := make([]Choice, len(values))
	for i, v := range values {
		choices[i].Value = v
	}
	return choices
}

// recognizeChoice finds the choice that an English text means.
func recognizeChoice(text string, choices []Choice) (FoundChoice, bool) {
	names := make([][]string, len(choices))
	for i, c := range choices {
		names[i] = append([]string{c.Value}, c.Synonyms...)
	}
	index, word, score, ok := english.Choice(text, names)
	if !ok {
		return FoundChoice{}, false
	}
	return FoundChoice{choices[index].Value, index, score, word}, true
}
