package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/botlapse/botlapse/cosmos/cosmostest"
)

const testContainer = `{"id":%q,"partitionKey":{"paths":["/id"],"kind":"Hash"}%s}`

// runCosmos runs a command against an account and returns its exit status and
// what it has printed.
func runCosmos(t *testing.T, server *cosmostest.Server, set map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	all := and(map[string]string{"CosmosDbEndpoint": server.Endpoint(), "CosmosDbAuthKey": server.Key, "CosmosDbDatabaseId": "bot"})
	for name, value := range set {
		all[name] = value
	}
	p := &program{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, lookup: environment(all), envFile: "no such file", cosmosTransport: server}
	code = p.run(t.Context(), args)
	return code, out.String(), errs.String()
}

func TestCosmosInitAndCheck(t *testing.T) {
	server := cosmostest.New()
	expect := func(name string, set map[string]string, code int, stdout, stderr string, args ...string) {
		t.Helper()
		gotCode, gotOut, gotErr := runCosmos(t, server, set, args...)
		if gotCode != code || gotOut != stdout || gotErr != stderr {
			t.Errorf("%s: exit status %d, stdout\n%sstderr\n%s", name, gotCode, gotOut, gotErr)
		}
	}
	const (
		database      = "create database \"bot\"\n"
		conversations = "create container \"conversations\", partition key /id, a time to live by item only\n"
		users         = "create container \"users\", partition key /id, no time to live\n"
		deadlines     = "create container \"deadlines\", partition key /shard, no time to live\n"
	)
	expect("check of nothing", nil, 1, "", "botlapse: cosmos: database \"bot\" does not exist, and it is not allowed to create it\n", "cosmos", "check")
	may := map[string]string{"CosmosDbCreateDatabase": "true"}
	expect("a dry run", may, 0, database+conversations+users+deadlines, "", "cosmos", "init", "--dry-run")
	expect("a dry run without deadlines", map[string]string{"CosmosDbCreateDatabase": "true", "ExpireProactively": "false"}, 0, database+conversations+users, "", "cosmos", "init", "--dry-run")
	if n := server.Count(cosmostest.CreateDatabase); n != 0 {
		t.Errorf("a dry run has created %d databases", n)
	}
	expect("init", may, 0, database+conversations+users+deadlines+"done\n", "", "cosmos", "init")
	expect("init again", nil, 0, "nothing to do\n", "", "cosmos", "init")
	expect("check", nil, 0, "all is as it should be\n", "", "cosmos", "check")
	expect("another time to live", map[string]string{"CosmosDbTimeToLive": "60"}, 1, "",
		"botlapse: cosmos: container \"conversations\": it has a time to live by item only, not a default time to live of 60 s, and it is not allowed to change that\n", "cosmos", "init")
	expect("to be changed", map[string]string{"CosmosDbTimeToLive": "60", "CosmosDbUpdateTimeToLive": "true"}, 0,
		"change container \"conversations\" from a time to live by item only to a default time to live of 60 s\ndone\n", "", "cosmos", "init")
	expect("no endpoint", map[string]string{"CosmosDbEndpoint": ""}, 1, "", "botlapse: CosmosDbEndpoint is empty: must be the URL of the account\n", "cosmos", "check")
}

func TestServeKeepsItsStateInCosmos(t *testing.T) {
	server := cosmostest.New()
	now := make(chan struct{})
	close(now)
	channel, sent := newChannel(t, now)
	for round, want := range []string{"Please enter your mode of transport.", "Please enter your name."} {
		s := startCosmos(t, server, map[string]string{"CosmosDbCreateDatabase": "true", "CosmosDbKeyForm": "javascript", "CosmosDbKeySuffix": "-x"})
		if code, err := postMessage(s.url, channel, fmt.Sprint("m", round), "bus"); code != http.StatusOK || err != nil {
			t.Errorf("answer is %d, %v", code, err)
		}
		if got := <-sent; !strings.HasSuffix(got, want) {
			t.Errorf("round %d: the bot said %s, want %s", round, got, want)
		}
		if code, body := ask(t, http.DefaultClient, "GET", strings.TrimSuffix(s.url, "/api/messages")+"/readyz", "", ""); code != 200 {
			t.Errorf("readyz: %d %s", code, body)
		}
		http.DefaultClient.CloseIdleConnections()
		s.wait(t)
	}
	var ids []string
	for _, r := range server.Requests() {
		if r.Op == cosmostest.CreateItem || r.Op == cosmostest.ReplaceItem {
			ids = append(ids, r.Container+" "+r.Item)
		}
	}
	if want := "conversations emulator*2fconversations*2fa*2fb c*2f-x"; len(ids) != 2 || ids[0] != want || ids[1] != want {
		t.Errorf("written were %q", ids)
	}
}

// TestServeExpiresByItselfWithCosmos has one process arm a deadline, and another
// one meet it.
func TestServeExpiresByItselfWithCosmos(t *testing.T) {
	server := cosmostest.New()
	now := make(chan struct{})
	close(now)
	channel, sent := newChannel(t, now)
	set := map[string]string{"CosmosDbCreateDatabase": "true", "ExpireAfterSeconds": "1", "ExpireProactiveMessage": "Goodbye."}
	first := startCosmos(t, server, set)
	if code, err := postMessage(first.url, channel, "m1", "hi"); code != 200 || err != nil {
		t.Fatalf("answer is %d, %v", code, err)
	}
	<-sent
	first.wait(t)
	list := func() string {
		t.Helper()
		code, stdout, stderr := runCosmos(t, server, nil, "deadlines")
		if code != 0 || stderr != "" {
			t.Errorf("exit status %d, stderr\n%s", code, stderr)
		}
		return stdout
	}
	if got := list(); !strings.Contains(got, "  emulator/conversations/a/b c  ") {
		t.Errorf("listed is %q", got)
	}
	second := startCosmos(t, server, set)
	if got := <-sent; !strings.HasSuffix(got, "/activities Goodbye.") {
		t.Errorf("the bot said %s", got)
	}
	second.wait(t)
	if got := list(); got != "" {
		t.Errorf("left is %q", got)
	}
}

func startCosmos(t *testing.T, account *cosmostest.Server, set map[string]string) *server {
	t.Helper()
	all := and(map[string]string{"PORT": "0", "CosmosDbEndpoint": account.Endpoint(), "CosmosDbAuthKey": account.Key, "CosmosDbDatabaseId": "bot"})
	for name, value := range set {
		all[name] = value
	}
	return startProgram(t, all, func(p *program) { p.cosmosTransport = account })
}

func TestServeDoesNotStartOnAUserContainerWithATimeToLive(t *testing.T) {
	server := cosmostest.New()
	for name, more := range map[string]string{"conversations": `,"defaultTtl":-1`, "users": `,"defaultTtl":60`} {
		if err := server.CreateContainer("bot", fmt.Sprintf(testContainer, name, more)); err != nil {
			t.Fatal(err)
		}
	}
	code, _, stderr := runCosmos(t, server, map[string]string{"PORT": "0"}, "serve")
	if code != 1 || !strings.Contains(stderr, `container "users": it has a default time to live of 60 s: user data would disappear`) {
		t.Errorf("exit status %d, stderr\n%s", code, stderr)
	}
}

func TestNamesThatCosmosDoesNotTakeAreReported(t *testing.T) {
	code, _, stderr := runCosmos(t, cosmostest.New(), map[string]string{"CosmosDbDatabaseId": "a/b", "CosmosDbDeadlineContainerId": "c "}, "cosmos", "check")
	if code != 1 || !strings.Contains(stderr, `CosmosDbDatabaseId is "a/b": must be`) || !strings.Contains(stderr, `CosmosDbDeadlineContainerId is "c ": must be`) {
		t.Errorf("exit status %d, stderr\n%s", code, stderr)
	}
}

func TestServeIsNotReadyWithoutDeadlines(t *testing.T) {
	server := cosmostest.New()
	for name, more := range map[string]string{"conversations": `,"defaultTtl":-1`, "users": ``} {
		if err := server.CreateContainer("bot", fmt.Sprintf(testContainer, name, more)); err != nil {
			t.Fatal(err)
		}
	}
	for proactive, want := range map[string]int{"": 503, "false": 200} {
		s := startCosmos(t, server, map[string]string{"CosmosDbInitialize": "false", "ExpireProactively": proactive})
		if code, _ := ask(t, http.DefaultClient, "GET", strings.TrimSuffix(s.url, "/api/messages")+"/readyz", "", ""); code != want {
			t.Errorf("ExpireProactively is %q: readyz is %d, want %d", proactive, code, want)
		}
		http.DefaultClient.CloseIdleConnections()
		s.wait(t)
	}
}

func TestServeIsNotReadyWhenCosmosIsAway(t *testing.T) {
	server := cosmostest.New()
	for name, more := range map[string]string{"conversations": `,"defaultTtl":-1`, "users": ``} {
		if err := server.CreateContainer("bot", fmt.Sprintf(testContainer, name, more)); err != nil {
			t.Fatal(err)
		}
	}
	server.Fault = func(cosmostest.Request) cosmostest.Fault { return cosmostest.Fault{Status: 403} }
	s := startCosmos(t, server, map[string]string{"CosmosDbInitialize": "false"})
	if code, body := ask(t, http.DefaultClient, "GET", strings.TrimSuffix(s.url, "/api/messages")+"/readyz", "", ""); code != 503 || body != "not ready\n" {
		t.Errorf("readyz: %d %s", code, body)
	}
	http.DefaultClient.CloseIdleConnections()
	s.wait(t)
}

func TestCosmosSettingsThatDoNotFitAreReportedAtOnce(t *testing.T) {
	var stderr bytes.Buffer
	p := &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: &stderr, envFile: "no such file", lookup: environment(map[string]string{
		"PORT": "0", "CosmosDbEndpoint": "http://localhost:8081", "CosmosDbConversationStateContainerId": "users", "CosmosDbDeadlineContainerId": "users", "CosmosDbTimeToLive": "0", "CosmosDbKeySuffix": "a/b",
		"CosmosDbKeyForm": "python", "CosmosDbThroughput": "-1", "CosmosDbCreateDatabase": "perhaps",
	})}
	if code := p.run(t.Context(), []string{"serve"}); code != 1 {
		t.Errorf("exit status is %d", code)
	}
	report := stderr.String()
	for _, want := range []string{`CosmosDbDeadlineContainerId is "users"`, `CosmosDbTimeToLive is "0"`, `CosmosDbKeySuffix is "a/b"`, `CosmosDbKeyForm is "python"`, `CosmosDbThroughput is "-1"`, `CosmosDbCreateDatabase is "perhaps"`,
		`without CosmosDbAuthKey it must be https`, `CosmosDbDatabaseId is empty`, `are both "users"`} {
		if !strings.Contains(report, want) {
			t.Errorf("the report lacks %q:\n%s", want, report)
		}
	}
	if n := strings.Count(report, "\n"); n != 9 {
		t.Errorf("the report has %d lines:\n%s", n, report)
	}
}

func TestAConnectionStringIsNotRepeated(t *testing.T) {
	for _, endpoint := range []string{"AccountEndpoint=https://x.test/;AccountKey=c3dvcmRmaXNo;", "https://swordfish@x.test/", "https://x.test/?key=c3dvcmRmaXNo", "https://x.test/c3dvcmRmaXNo"} {
		var stderr bytes.Buffer
		p := &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: &stderr, envFile: "no such file",
			lookup: environment(map[string]string{"PORT": "0", "CosmosDbEndpoint": endpoint, "CosmosDbDatabaseId": "bot", "STATE_FILE": "x"})}
		if code := p.run(t.Context(), []string{"serve"}); code != 1 || !strings.Contains(stderr.String(), "CosmosDbEndpoint is no address") || strings.Contains(stderr.String(), "swordfish") || strings.Contains(stderr.String(), "c3dv") {
			t.Errorf("exit status %d, stderr\n%s", code, &stderr)
		}
	}
}

func TestATimeToLiveSmallerThanTheTimeoutIsAWarning(t *testing.T) {
	server := cosmostest.New()
	s := startCosmos(t, server, map[string]string{"CosmosDbCreateDatabase": "true", "CosmosDbTimeToLive": "10", "ExpireAfterSeconds": "30"})
	s.wait(t)
	if logs := s.logs.String(); !strings.Contains(logs, "level=WARN") || !strings.Contains(logs, "CosmosDbTimeToLive is smaller than ExpireAfterSeconds") {
		t.Errorf("logs are\n%s", logs)
	}
}

// TestCosmosEmulate serves the imitation and talks to it through a socket.
func TestCosmosEmulate(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan int)
	go func() {
		p := &program{stdin: strings.NewReader(""), stdout: in, stderr: io.Discard, lookup: environment(nil), envFile: "no such file"}
		done <- p.run(ctx, []string{"cosmos", "emulate", "--port", "0"})
	}()
	set := make(map[string]string)
	for lines := bufio.NewScanner(out); len(set) < 4 && lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "=")
		set[name] = value
	}
	var stdout, stderr bytes.Buffer
	p := &program{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, lookup: environment(set), envFile: "no such file"}
	if code := p.run(t.Context(), []string{"cosmos", "init"}); code != 0 || !strings.HasSuffix(stdout.String(), "done\n") {
		t.Errorf("exit status %d, stdout\n%s, stderr\n%s", code, &stdout, &stderr)
	}
	stop()
	if code := <-done; code != 0 {
		t.Errorf("exit status is %d", code)
	}
}
