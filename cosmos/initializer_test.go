package cosmos_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
)

const (
	indexing     = `"indexingPolicy":{"indexingMode":"consistent","automatic":true,"includedPaths":[],"excludedPaths":[{"path":"/*"}]}`
	conversation = `{"id":"conversations","partitionKey":{"paths":["/id"],"kind":"Hash"},"defaultTtl":1800,` + indexing + `}`
	user         = `{"id":"users","partitionKey":{"paths":["/id"],"kind":"Hash"},` + indexing + `}`
)

func newInitializer(account *cosmos.Account) *cosmos.Initializer {
	return &cosmos.Initializer{Account: account, Database: "bot", Conversation: "conversations", User: "users", TimeToLive: 30 * time.Minute}
}

func deadlines(i *cosmos.Initializer) { i.Deadlines = "deadlines" }

func TestTheInitializer(t *testing.T) {
	for _, test := range []struct {
		name    string
		exists  []string // containers; nil for no database either
		options func(*cosmos.Initializer)
		steps   []string
		problem string
	}{
		{"all is there", []string{conversation, user}, nil, nil, ""},
		{"the containers are missing", []string{}, nil, []string{`create container "conversations", partition key /id, a default time to live of 1800 s`, `create container "users", partition key /id, no time to live`}, ""},
		{"one is missing", []string{conversation}, nil, []string{`create container "users", partition key /id, no time to live`}, ""},
		{"with throughput and without a default", []string{}, func(i *cosmos.Initializer) { i.TimeToLive, i.Throughput = -1, 400 },
			[]string{`create container "conversations", partition key /id, a time to live by item only, 400 RU/s`, `create container "users", partition key /id, no time to live, 400 RU/s`}, ""},
		{"the database is missing", nil, nil, nil, `database "bot" does not exist, and it is not allowed`},
		{"and may be created", nil, func(i *cosmos.Initializer) { i.CreateDatabase = true },
			[]string{`create database "bot"`, `create container "conversations", partition key /id, a default time to live of 1800 s`, `create container "users", partition key /id, no time to live`}, ""},
		{"another time to live", []string{strings.Replace(conversation, "1800", "60", 1), user}, nil, nil, `it has a default time to live of 60 s, not a default time to live of 1800 s`},
		{"which may be changed", []string{strings.Replace(conversation, "1800", "60", 1), user}, func(i *cosmos.Initializer) { i.UpdateTimeToLive = true }, []string{`change container "conversations" from a default time to live of 60 s to a default time to live of 1800 s`}, ""},
		{"no time to live", []string{strings.Replace(conversation, `"defaultTtl":1800,`, "", 1), user}, func(i *cosmos.Initializer) { i.UpdateTimeToLive = true }, []string{`change container "conversations" from no time to live to a default time to live of 1800 s`}, ""},
		{"a user container with a time to live", []string{conversation, strings.Replace(user, `"partitionKey"`, `"defaultTtl":-1,"partitionKey"`, 1)}, nil, nil, `user data would disappear`},
		{"another partition key", []string{strings.Replace(conversation, "/id", "/userId", 1), user}, nil, nil, `the partition key is /userId: it must be /id`},
		{"a legacy container", []string{strings.Replace(conversation, `"/id"`, `"/_partitionKey"`, 1), user}, nil, nil, ""},
		{"deadlines too", []string{conversation, user}, deadlines, []string{`create container "deadlines", partition key /shard, no time to live`}, ""},
		{"deadlines that are there", []string{conversation, user, byShard}, deadlines, nil, ""},
		{"deadlines with all paths indexed", []string{conversation, user, `{"id":"deadlines","partitionKey":{"paths":["/shard"]},"defaultTtl":-1}`}, deadlines, nil, ""},
		{"deadlines with the index of a state container", []string{conversation, user, strings.Replace(byShard, `{"path":"/ready/?"}`, "", 1)}, deadlines, nil, `"deadlines": it has no index on /ready`},
		{"deadlines of which ready is excluded", []string{conversation, user, strings.NewReplacer(`{"path":"/ready/?"}`, `{"path":"/*"}`, `[{"path":"/*"}]`, `[{"path":"/\"ready\"/?"}]`).Replace(byShard)}, deadlines, nil, `it has no index on /ready`},
		{"deadlines without index", []string{conversation, user, `{"id":"deadlines","partitionKey":{"paths":["/shard"]},"indexingPolicy":{"indexingMode":"none","automatic":false}}`}, deadlines, nil, `it has no index on /ready`},
		{"deadlines that would disappear", []string{conversation, user, strings.Replace(byShard, `"partitionKey"`, `"defaultTtl":60,"partitionKey"`, 1)}, deadlines, nil, `it has a default time to live of 60 s: deadlines would disappear`},
		{"deadlines with another partition key", []string{conversation, user, strings.Replace(byShard, "/shard", "/id", 1)}, deadlines, nil, `the partition key is /id: it must be /shard`},
		{"no indexing", []string{`{"id":"conversations","partitionKey":{"paths":["/id"]},"indexingPolicy":{"indexingMode":"none","automatic":false}}`, user}, func(i *cosmos.Initializer) { i.UpdateTimeToLive = true }, nil, `indexing mode none, with which there is no time to live`},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := cosmostest.New()
				if test.exists != nil { // the database comes with a container
					if err := server.CreateContainer("bot", `{"id":"other","partitionKey":{"paths":["/id"]}}`); err != nil {
						t.Fatal(err)
					}
				}
				for _, definition := range test.exists {
					if err := server.CreateContainer("bot", definition); err != nil {
						t.Fatal(err)
					}
				}
				i := newInitializer(newAccount(t, server))
				if test.options != nil {
					test.options(i)
				}
				plan, err := i.Plan(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if got, want := strings.Join(plan.Steps, "\n"), strings.Join(test.steps, "\n"); got != want {
					t.Errorf("steps are\n%s, want\n%s", got, want)
				}
				if got := fmt.Sprint(plan.Problems); !strings.Contains(got, test.problem) || (test.problem == "") != (len(plan.Problems) == 0) {
					t.Errorf("problems are %s, want %s", got, test.problem)
				}
				err = i.Run(t.Context())
				if test.problem != "" {
					if err == nil || !strings.Contains(err.Error(), test.problem) {
						t.Errorf("Run: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if plan, err := i.Plan(t.Context()); err != nil || len(plan.Steps)+len(plan.Problems) > 0 {
					t.Errorf("afterwards the plan is %+v: %v", plan, err)
				}
				write(t, cosmos.New(i.Account, "bot", "conversations", nil), "k", "1", "")
				write(t, cosmos.New(i.Account, "bot", "users", nil), "k", "1", "")
				if i.Deadlines != "" {
					d := cosmos.NewDeadlines(i.Account, "bot", i.Deadlines, nil)
					arm(t, d, "k", time.Now())
					if claims, _ := claim(t, d, 1); len(claims) != 1 {
						t.Errorf("claimed are %v", claims)
					}
				}
			})
		})
	}
}

// TestAnUpdateResetsNothing has a definition with what azcosmos does not know.
func TestAnUpdateResetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := cosmostest.New()
		const more = `"uniqueKeyPolicy":{"uniqueKeys":[]},"computedProperties":[{"name":"x","query":"SELECT VALUE 1"}]`
		if err := server.CreateContainer("bot", strings.Replace(strings.Replace(conversation, "1800", "60", 1), `"partitionKey"`, more+`,"partitionKey"`, 1)); err != nil {
			t.Fatal(err)
		}
		if err := server.CreateContainer("bot", user); err != nil {
			t.Fatal(err)
		}
		var sent []byte
		i := newInitializer(spy(t, server, func(body []byte) { sent = body }))
		i.UpdateTimeToLive = true
		if err := i.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		var definition struct {
			DefaultTTL         int                        `json:"defaultTtl"`
			ComputedProperties []json.RawMessage          `json:"computedProperties"`
			IndexingPolicy     map[string]json.RawMessage `json:"indexingPolicy"`
		}
		if err := json.Unmarshal(sent, &definition); err != nil || definition.DefaultTTL != 1800 || len(definition.ComputedProperties) != 1 || len(definition.IndexingPolicy) < 3 {
			t.Errorf("sent %s: %v", sent, err)
		}
	})
}

func TestManyInitializersAtOnceAreHarmless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := cosmostest.New()
		server.Fault = func(cosmostest.Request) cosmostest.Fault { return cosmostest.Fault{Delay: time.Millisecond} }
		var runs sync.WaitGroup
		for range 10 {
			i := newInitializer(newAccount(t, server))
			i.CreateDatabase = true
			runs.Go(func() {
				if err := i.Run(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		runs.Wait()
	})
}

func TestAMissingRightIsExplained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := cosmostest.New()
		if err := server.CreateContainer("bot", conversation); err != nil {
			t.Fatal(err)
		}
		server.Tokens = map[string]cosmostest.Role{"token": cosmostest.DataContributor, "blind": 0}
		for token, want := range map[string]string{
			"token": `create container "users": status 403/5300`,
			"blind": `status 403/5301: the Entra ID identity may not read the account's metadata`,
		} {
			account, err := cosmos.NewAccount(server.Endpoint(), &cosmos.AccountOptions{Credential: staticToken(token), Transport: server})
			if err != nil {
				t.Fatal(err)
			}
			err = newInitializer(account).Run(t.Context())
			account.Close()
			if err == nil || !strings.Contains(err.Error(), want) || token == "token" && !strings.Contains(err.Error(), "az cosmosdb sql container create --database-name bot --name users --partition-key-path /id") {
				t.Errorf("%s: %v", token, err)
			}
		}
	})
}

func TestAMissingRightToMakeTheDeadlinesIsExplained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := cosmostest.New()
		for _, definition := range []string{conversation, user} {
			if err := server.CreateContainer("bot", definition); err != nil {
				t.Fatal(err)
			}
		}
		server.Tokens = map[string]cosmostest.Role{"token": cosmostest.DataContributor}
		account, err := cosmos.NewAccount(server.Endpoint(), &cosmos.AccountOptions{Credential: staticToken("token"), Transport: server})
		if err != nil {
			t.Fatal(err)
		}
		defer account.Close()
		i := newInitializer(account)
		i.Deadlines = "deadlines"
		const want = `az cosmosdb sql container create --database-name bot --name deadlines --partition-key-path /shard --idx '{"automatic":true,"indexingMode":"Consistent","includedPaths":[{"path":"/ready/?"}],"excludedPaths":[{"path":"/*"}]}'`
		if err := i.Run(t.Context()); err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), " --account-name … --resource-group …", ""), want) {
			t.Errorf("error is %v", err)
		}
	})
}

func TestABusyAccountIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := cosmostest.New()
		faults := []cosmostest.Fault{{Status: 503}, {Status: 429, RetryAfter: time.Second}, {Reset: true, Committed: true}}
		server.Fault = func(r cosmostest.Request) (f cosmostest.Fault) {
			if r.Op == cosmostest.CreateContainer && len(faults) > 0 {
				f, faults = faults[0], faults[1:]
			}
			return f
		}
		i := newInitializer(newAccount(t, server))
		i.CreateDatabase = true
		if err := i.Run(t.Context()); err != nil || len(faults) > 0 {
			t.Errorf("%d faults are left: %v", len(faults), err)
		}
	})
}

func TestAServerlessAccountTakesNoThroughput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := cosmostest.New()
		server.Serverless = true
		i := newInitializer(newAccount(t, server))
		i.CreateDatabase, i.Throughput = true, 400
		if err := i.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "a serverless account takes no throughput") {
			t.Errorf("error is %v", err)
		}
		i.Throughput = 0
		if err := i.Run(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestAnInitializerThatMakesNoSenseIsReportedAtOnce(t *testing.T) {
	i := &cosmos.Initializer{Conversation: "x", User: "x", Throughput: -1}
	_, err := i.Plan(t.Context())
	if err == nil || strings.Count(err.Error(), "\n") != 4 {
		t.Errorf("error is %v", err)
	}
	i.Deadlines = "x"
	if _, err = i.Plan(t.Context()); err == nil || !strings.Contains(err.Error(), `Deadlines is "x", which is a container of state`) {
		t.Errorf("error is %v", err)
	}
}

type staticToken string

func (s staticToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(s), ExpiresOn: time.Now().Add(time.Hour)}, nil
}
