package statetest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

// TestCasesCoverContract holds the rules next to the comments they are taken
// from: each rule stands there word for word, and each sentence of the
// contract is the rule of a case.
func TestCasesCoverContract(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../storage.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	unlink := strings.NewReplacer("[", "", "]", "")
	plain := func(text string) string {
		return unlink.Replace(strings.Join(strings.Fields(text), " "))
	}
	var all strings.Builder
	for _, comment := range file.Comments {
		all.WriteString(plain(comment.Text()) + "\n")
	}
	rules := make(map[string]bool)
	names := make(map[string]bool)
	for _, c := range cases {
		if names[c.name] {
			t.Errorf("two cases are called %q", c.name)
		}
		names[c.name] = true
		rules[c.rule] = true
		if !strings.Contains(all.String(), c.rule) {
			t.Errorf("no comment in storage.go says %q", c.rule)
		}
	}

	var contract []string
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GenDecl:
			if spec, ok := n.Specs[0].(*ast.TypeSpec); !ok || spec.Name.Name != "Storage" {
				return false
			}
			// The first paragraph says what a Storage is, the others what it does.
			_, rest, _ := strings.Cut(n.Doc.Text(), "\n\n")
			contract = append(contract, rest)
		case *ast.Field:
			if n.Doc != nil {
				contract = append(contract, n.Doc.Text())
			}
		}
		return true
	})
	if len(contract) != 4 {
		t.Fatalf("the contract has %d parts, want one for the interface and one for each method", len(contract))
	}
	for _, part := range contract {
		for sentence := range strings.SplitSeq(plain(part), ". ") {
			if sentence = strings.TrimSuffix(sentence, ".") + "."; !rules[sentence] {
				t.Errorf("no case proves: %s", sentence)
			}
		}
	}
}

func TestOddKeysAreDifferent(t *testing.T) {
	seen := make(map[string]bool)
	for _, key := range odd {
		if key == "" || seen[key] {
			t.Errorf("%q is empty or listed twice", short(key))
		}
		seen[key] = true
	}
}

func TestSameJSON(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{`{"a":1,"b":[1,2]}`, ` { "b" : [ 1.0 , 2e0 ], "a" : 1 } `, true},
		{`"\u0041\/"`, `"A/"`, true},
		{`null`, `null`, true},
		{`{"a":null}`, `{}`, false},
		{`[1,2]`, `[2,1]`, false},
		{`1`, `"1"`, false},
		{``, ``, false},
		{`null`, ``, false},
		{`{}`, `{} {}`, false},
	} {
		if got := sameJSON([]byte(tt.a), []byte(tt.b)); got != tt.want {
			t.Errorf("sameJSON(%q, %q) = %t", tt.a, tt.b, got)
		}
		if got := sameJSON([]byte(tt.b), []byte(tt.a)); got != tt.want {
			t.Errorf("sameJSON(%q, %q) = %t", tt.b, tt.a, got)
		}
	}
}
