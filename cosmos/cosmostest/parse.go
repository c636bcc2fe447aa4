package cosmostest

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// A query is a parsed SELECT statement.
type query struct {
	count   bool     // SELECT VALUE COUNT(1)
	value   bool     // SELECT VALUE x: the values alone
	columns []column // nil for *
	where   expr     // nil for all
	orderBy *path    // nil for the order of creation
	desc    bool
	offset  int
	limit   int // also of TOP, -1 for none
}

// A column is a part of what is selected.
type column struct {
	name string
	path path
}

// keywords cannot follow a dot: c.value is an error, c["value"] is not.
var keywords = []string{
	"AND", "AS", "ASC", "BETWEEN", "BY", "DESC", "DISTINCT", "EXISTS", "FALSE", "FROM", "GROUP", "IN", "JOIN", "LIKE",
	"LIMIT", "NOT", "NULL", "OFFSET", "OR", "ORDER", "SELECT", "TOP", "TRUE", "UNDEFINED", "UDF", "VALUE", "WHERE",
}

// maxNesting bounds how deep expressions may be nested.
const maxNesting = 100

// A parser reads a query. Its methods panic with a *failure, which parse
// recovers.
type parser struct {
	text       string
	token      string // the current one; "" at the end
	start      int    // of token
	end        int    // behind token
	alias      string
	parameters map[string]any
	nesting    int
}

// parseQuery parses a query, with the values of its parameters by name.
func parseQuery(text string, parameters map[string]any) (q query, err error) {
	p := &parser{text: text, parameters: parameters}
	defer p.recover(&err)
	p.advance()
	// The alias is needed to read what stands before it.
	p.findAlias()
	p.want("SELECT")
	q.limit = -1
	if p.skip("TOP") {
		q.limit = p.count()
	}
	p.readColumns(&q)
	p.readFrom()
	if p.skip("WHERE") {
		q.where = p.readOr()
	}
	if p.skip("ORDER") {
		p.want("BY")
		path := p.readPath()
		q.orderBy = &path
		if q.desc = p.skip("DESC"); !q.desc {
			p.skip("ASC")
		}
	}
	if p.skip("OFFSET") {
		q.offset = p.count()
		p.want("LIMIT")
		q.limit = p.count()
	}
	if p.token != "" {
		p.unsupported()
	}
	return q, nil
}

// parseCondition parses the condition of a patch: FROM c WHERE c.n = 1.
func parseCondition(text string) (where expr, err error) {
	p := &parser{text: text}
	defer p.recover(&err)
	p.advance()
	p.findAlias()
	p.readFrom()
	p.want("WHERE")
	where = p.readOr()
	if p.token != "" {
		p.unsupported()
	}
	return where, nil
}

func (p *parser) recover(err *error) {
	switch v := recover().(type) {
	case nil:
	case *failure:
		*err = v
	default:
		panic(v)
	}
}

// unsupported ends the parsing with an error about the current token.
func (p *parser) unsupported() {
	near := p.token
	if near == "" {
		near = "its end"
	}
	panic(fail(http.StatusBadRequest, "cosmostest cannot parse the query near %s (byte %d): a syntax error, or syntax that it does not imitate", near, p.start))
}

// advance goes to the next token: a word or number, a quoted string with its
// quotes, or an operator.
func (p *parser) advance() {
	for p.end < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.end]) >= 0 {
		p.end++
	}
	p.start = p.end
	rest := p.text[p.start:]
	n := 0
	switch {
	case rest == "":
	case rest[0] == '\'' || rest[0] == '"':
		for n = 1; n < len(rest) && rest[n] != rest[0]; n++ {
			if rest[n] == '\\' {
				n++
			}
		}
		if n++; n > len(rest) {
			p.token = rest
			p.unsupported()
		}
	case isDigit(rest[0]):
		for n = 1; n < len(rest) && (isWord(rest[n]) || rest[n] == '.' || strings.IndexByte("+-", rest[n]) >= 0 && strings.IndexByte("eE", rest[n-1]) >= 0); n++ {
		}
	case isWord(rest[0]):
		for n = 1; n < len(rest) && isWord(rest[n]); n++ {
		}
	case strings.HasPrefix(rest, "!="), strings.HasPrefix(rest, "<>"), strings.HasPrefix(rest, "<="), strings.HasPrefix(rest, ">="):
		n = 2
	default:
		n = 1
	}
	p.end = p.start + n
	p.token = rest[:n]
}

func isWord(c byte) bool {
	return c == '_' || c == '@' || c == '$' || isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func (p *parser) is(word string) bool { return strings.EqualFold(p.token, word) }

// skip goes on if the current token is word, and reports whether it was.
func (p *parser) skip(word string) bool {
	if p.is(word) {
		p.advance()
		return true
	}
	return false
}

func (p *parser) want(word string) {
	if !p.skip(word) {
		p.unsupported()
	}
}

// name reads a word that is no keyword.
func (p *parser) name() string {
	if p.token == "" || !isWord(p.token[0]) || isDigit(p.token[0]) || p.token[0] == '@' ||
		slices.Contains(keywords, strings.ToUpper(p.token)) {
		p.unsupported()
	}
	name := p.token
	p.advance()
	return name
}

// count reads a number of items, such as that of TOP.
func (p *parser) count() int {
	token := p.token
	if v, ok := p.parameters[token]; ok {
		token = string(toJSON(v))
	}
	n, err := strconv.Atoi(token)
	if err != nil || n < 0 || n > math.MaxInt32 {
		p.unsupported()
	}
	p.advance()
	return n
}

// findAlias looks ahead for the name that the FROM clause gives to an item.
func (p *parser) findAlias() {
	ahead := *p
	for ahead.token != "" && !ahead.is("FROM") {
		ahead.advance()
	}
	ahead.readFrom()
	p.alias = ahead.alias
}

// readFrom reads FROM c, FROM root c or FROM root AS c.
func (p *parser) readFrom() {
	p.want("FROM")
	p.alias = p.name()
	if p.skip("AS") || p.token != "" && isWord(p.token[0]) && !slices.Contains(keywords, strings.ToUpper(p.token)) {
		p.alias = p.name()
	}
}

func (p *parser) readColumns(q *query) {
	if p.skip("*") {
		return
	}
	if q.value = p.skip("VALUE"); q.value && p.skip("COUNT") {
		for _, word := range []string{"(", "1", ")"} {
			p.want(word)
		}
		q.count = true
		return
	}
	for {
		column := column{path: p.readPath()}
		column.name = column.path.lastName(p.alias)
		if p.skip("AS") || !p.is("FROM") && !p.is(",") {
			column.name = p.name()
		}
		q.columns = append(q.columns, column)
		if q.value || !p.skip(",") {
			return
		}
	}
}

// readPath reads c, c.name or c["name"][0].
func (p *parser) readPath() path {
	if p.alias == "" || p.token != p.alias {
		p.unsupported()
	}
	p.advance()
	path := path{}
	for {
		switch {
		case p.skip("."):
			path = append(path, p.name())
		case p.skip("["):
			if n, err := strconv.Atoi(p.token); err == nil && n >= 0 {
				path = append(path, n)
			} else if name, ok := p.quoted(); ok {
				path = append(path, name)
			} else {
				p.unsupported()
			}
			p.advance()
			p.want("]")
		default:
			return path
		}
	}
}

// quoted returns the value of the current token, if that is a string.
func (p *parser) quoted() (s string, ok bool) {
	if p.token == "" || p.token[0] != '"' && p.token[0] != '\'' {
		return "", false
	}
	var b strings.Builder // the string as JSON
	b.WriteByte('"')
	inner := p.token[1 : len(p.token)-1]
	for i := 0; i < len(inner); i++ {
		switch c := inner[i]; {
		case c == '\\' && inner[i+1] == '\'':
			b.WriteByte('\'')
			i++
		case c == '\\':
			b.WriteString(inner[i : i+2])
			i++
		case c == '"':
			b.WriteString(`\"`)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	if json.Unmarshal([]byte(b.String()), &s) != nil {
		p.unsupported()
	}
	return s, true
}

// enter counts a level of nesting until the function that it returns.
func (p *parser) enter() func() {
	if p.nesting++; p.nesting > maxNesting {
		panic(fail(http.StatusBadRequest, "The query is nested more than %d levels deep", maxNesting))
	}
	return func() { p.nesting-- }
}

func (p *parser) readOr() expr {
	defer p.enter()()
	left := p.readAnd()
	for p.skip("OR") {
		left = logical{or: true, left: left, right: p.readAnd()}
	}
	return left
}

func (p *parser) readAnd() expr {
	left := p.readNot()
	for p.skip("AND") {
		left = logical{left: left, right: p.readNot()}
	}
	return left
}

func (p *parser) readNot() expr {
	defer p.enter()()
	if p.skip("NOT") {
		return not{p.readNot()}
	}
	left := p.readOperand()
	switch {
	case p.token != "" && slices.Contains([]string{"=", "!=", "<>", "<", "<=", ">", ">="}, p.token):
		operator := p.token
		p.advance()
		return comparison{operator, left, p.readOperand()}
	case p.skip("IN"):
		return in{left, p.readList()}
	case p.skip("NOT"):
		p.want("IN")
		return not{in{left, p.readList()}}
	}
	return left
}

func (p *parser) readList() []expr {
	p.want("(")
	list := []expr{p.readOperand()}
	for p.skip(",") {
		list = append(list, p.readOperand())
	}
	p.want(")")
	return list
}

func (p *parser) readOperand() expr {
	if p.skip("(") {
		e := p.readOr()
		p.want(")")
		return e
	}
	if p.token == p.alias && p.alias != "" {
		return p.readPath()
	}
	if s, ok := p.quoted(); ok {
		p.advance()
		return literal{s}
	}
	token := p.token
	switch strings.ToUpper(token) {
	case "TRUE", "FALSE":
		p.advance()
		return literal{strings.EqualFold(token, "true")}
	case "NULL":
		p.advance()
		return literal{nil}
	case "UNDEFINED":
		p.advance()
		return literal{undefined{}}
	}
	if strings.HasPrefix(token, "@") {
		v, ok := p.parameters[token]
		if !ok {
			panic(fail(http.StatusBadRequest, "The query has no value for its parameter %s", token))
		}
		p.advance()
		return literal{v}
	}
	if f, ok := functions[strings.ToUpper(token)]; ok {
		p.advance()
		call := functionCall{f, p.readList()}
		if len(call.arguments) != f.arguments {
			panic(fail(http.StatusBadRequest, "The function %s takes %d arguments", token, f.arguments))
		}
		return call
	}
	sign := ""
	if p.skip("-") {
		sign, token = "-", p.token
	}
	number, err := strconv.ParseFloat(sign+token, 64)
	if err != nil || !isDigit(token[0]) {
		p.unsupported()
	}
	p.advance()
	return literal{number}
}
