package english_test

import (
	"fmt"

	"github.com/botlapse/botlapse/dialog/english"
)

func ExampleNumber() {
	for _, text := range []string{"I am forty-two.", "2.5 million", "three quarters", "none of your business"} {
		fmt.Println(english.Number(text))
	}
	// Output:
	// 42 true
	// 2.5e+06 true
	// 0.75 true
	// 0 false
}

func ExampleBoolean() {
	for _, text := range []string{"Yeah, sure", "I don't agree", "perhaps"} {
		fmt.Println(english.Boolean(text))
	}
	// Output:
	// true true
	// false true
	// false false
}

func ExampleChoice() {
	transports := [][]string{{"Car", "automobile"}, {"Bus"}, {"Bicycle", "bike"}}
	for _, text := range []string{"a bike, please", "the second one", "on foot"} {
		index, word, _, ok := english.Choice(text, transports)
		fmt.Println(index, word, ok)
	}
	// Output:
	// 2 bike true
	// 1 second true
	// 0  false
}
