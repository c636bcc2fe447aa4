package cosmos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"
)

// An Initializer creates what a bot needs in an account: the container of the
// conversation state, with a default time to live, and that of the user state,
// without one; perhaps that of the deadlines. What exists is checked, and left as
// it is.
type Initializer struct {
	Account  *Account
	Database string

	// Conversation and User are the names of the containers.
	Conversation, User string

	// Deadlines is the name of the container of the deadlines, for [NewDeadlines].
	// "" means that there is to be none.
	Deadlines string

	// TimeToLive is the default time to live of the conversation state, in
	// whole seconds; negative means that items live on unless they have a time
	// to live of their own.
	TimeToLive time.Duration

	// CreateDatabase allows to create the database.
	CreateDatabase bool

	// UpdateTimeToLive allows to change the default time to live of a
	// container that exists.
	UpdateTimeToLive bool

	// Report, if not nil, is told of each step of Run that was taken, in the
	// words of [Plan].
	Report func(step string)

	// Throughput is that of new containers, in request units a second. 0 means
	// none of their own: accounts that are serverless take no other.
	Throughput int32
}

// A Plan is what an [Initializer] would do.
type Plan struct {
	// Steps say what would be created or changed, in order.
	Steps []string

	// Problems are what must be mended by hand.
	Problems []error

	steps []func(context.Context) error
}

// rounds is how often Run plans anew, because another process has created or changed
// something since it planned.
const rounds = 5

// Run creates what is missing and changes what is to be changed. It is
// harmless to run it again, and at the same time elsewhere. Its error joins
// everything that must be mended by hand; nothing is done then.
func (i *Initializer) Run(ctx context.Context) error {
	for round := 1; ; round++ {
		plan, err := i.Plan(ctx)
		if err != nil {
			return err
		}
		if err := errors.Join(plan.Problems...); err != nil {
			return err
		}
		err = nil
		for n, step := range plan.steps {
			if err = again(ctx, func() error { return step(ctx) }); err != nil {
				break
			}
			if i.Report != nil {
				i.Report(plan.Steps[n])
			}
		}
		// Who finds that somebody else was first looks again.
		if status := statusOf(err); status != http.StatusConflict && status != http.StatusPreconditionFailed || round == rounds {
			return err
		}
	}
}

// Plan finds out what Run would do. Its error is that this cannot be found out.
func (i *Initializer) Plan(ctx context.Context) (*Plan, error) {
	if err := i.check(); err != nil {
		return nil, err
	}
	client, err := i.Account.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("cosmos: %w", err)
	}
	database, err := client.NewDatabase(i.Database)
	if err != nil {
		return nil, fmt.Errorf("cosmos: database %q: %w", i.Database, err)
	}
	plan := &Plan{}
	exists, err := lookUp(ctx, "database", i.Database, func() error {
		_, err := database.Read(ctx, nil)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case !exists && !i.CreateDatabase:
		plan.Problems = append(plan.Problems, fmt.Errorf("cosmos: database %q does not exist, and it is not allowed to create it", i.Database))
		return plan, nil
	case !exists:
		plan.add(fmt.Sprintf("create database %q", i.Database), func(ctx context.Context) error {
			_, err := client.CreateDatabase(ctx, azcosmos.DatabaseProperties{ID: i.Database}, nil)
			return i.failed("create database", i.Database, "cosmosdb sql database create --name "+i.Database, err)
		})
	}
	ttl := i.defaultTTL()
	wants := []want{{name: i.Conversation, key: "/id", ttl: &ttl}, {name: i.User, key: "/id"}}
	if i.Deadlines != "" {
		wants = append(wants, want{name: i.Deadlines, key: "/shard", indexed: []azcosmos.IncludedPath{{Path: "/ready/?"}}})
	}
	for _, w := range wants {
		if err := i.planContainer(ctx, plan, database, exists, w); err != nil {
			return nil, err
		}
	}
	return plan, nil
}

// check returns everything that is wrong with the fields.
func (i *Initializer) check() error {
	var problems []error
	problem := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("cosmos: initializer: "+format, args...))
	}
	if i.Account == nil {
		problem("Account is missing")
	}
	for _, f := range []struct{ name, value string }{{"Database", i.Database}, {"Conversation", i.Conversation}, {"User", i.User}} {
		if f.value == "" {
			problem("%s is missing", f.name)
		}
	}
	if i.Conversation == i.User && i.User != "" {
		problem("Conversation and User are both %q: user state has no time to live, and needs a container of its own", i.User)
	}
	if i.Deadlines != "" && (i.Deadlines == i.Conversation || i.Deadlines == i.User) {
		problem("Deadlines is %q, which is a container of state: deadlines have another partition key, and need a container of their own", i.Deadlines)
	}
	if i.TimeToLive == 0 {
		problem("TimeToLive is 0: must be a second or more, or negative for none by default")
	} else if i.TimeToLive > 0 && (i.TimeToLive%time.Second != 0 || i.TimeToLive/time.Second > 1<<31-1) {
		problem("TimeToLive is %v: must be whole seconds, less than 68 years", i.TimeToLive)
	}
	if i.Throughput < 0 {
		problem("Throughput is %d: must be 0 or more", i.Throughput)
	}
	return errors.Join(problems...)
}

func (i *Initializer) defaultTTL() int32 {
	if i.TimeToLive < 0 {
		return -1
	}
	return int32(i.TimeToLive / time.Second)
}

func (p *Plan) add(text string, do func(context.Context) error) {
	p.Steps = append(p.Steps, text)
	p.steps = append(p.steps, do)
}

// lookUp reports whether what read reads is there.
func lookUp(ctx context.Context, kind, name string, read func() error) (bool, error) {
	err := again(ctx, read)
	switch {
	case err == nil:
		return true, nil
	case isAbsent(err):
		return false, nil
	}
	return false, fmt.Errorf("cosmos: read %s %q: %w", kind, name, explain(err))
}

// again calls do until it succeeds or fails for good.
func again(ctx context.Context, do func() error) error {
	for attempt, wait := 1, baseWait; ; attempt, wait = attempt+1, 2*wait {
		err := do()
		if err == nil || !isTransient(err) || attempt == attempts {
			return err
		}
		select {
		case <-time.After(max(wait, retryAfter(err))):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A want is a container that is to be there.
type want struct {
	name, key string                  // key is the path of the partition key
	ttl       *int32                  // in seconds; nil for none
	indexed   []azcosmos.IncludedPath // all else is not
}

// planContainer plans for one container.
func (i *Initializer) planContainer(ctx context.Context, plan *Plan, database *azcosmos.DatabaseClient, databaseExists bool, w want) error {
	name, ttl := w.name, w.ttl
	container, err := database.NewContainer(name)
	if err != nil {
		return fmt.Errorf("cosmos: container %q: %w", name, err)
	}
	var found azcosmos.ContainerResponse
	exists := false
	if databaseExists {
		exists, err = lookUp(ctx, "container", name, func() (err error) {
			found, err = container.Read(ctx, nil)
			return err
		})
		if err != nil {
			return err
		}
	}
	if !exists {
		plan.add(fmt.Sprintf("create container %q, partition key %s, %s%s", name, w.key, ttlText(ttl), i.throughputText()), func(ctx context.Context) error {
			return i.create(ctx, database, w)
		})
		return nil
	}
	properties := found.ContainerProperties
	problem := func(format string, args ...any) {
		plan.Problems = append(plan.Problems, fmt.Errorf("cosmos: container %q: "+format, append([]any{name}, args...)...))
	}
	if name == i.Deadlines {
		for _, err := range checkDeadlines(properties) {
			problem("%w", err)
		}
		return nil
	}
	if paths := properties.PartitionKeyDefinition.Paths; len(paths) != 1 || paths[0] != "/id" && paths[0] != "/_partitionKey" {
		problem("the partition key is %s: it must be /id, and cannot be changed; use another container", strings.Join(paths, ", "))
	}
	current := properties.DefaultTimeToLive
	switch {
	case ttl == nil && current != nil:
		problem("it has %s: user data would disappear; switch its time to live off, or use another container", ttlText(current))
	case ttl == nil:
	case current != nil && *current == *ttl:
	case properties.IndexingPolicy != nil && strings.EqualFold(string(properties.IndexingPolicy.IndexingMode), "none"):
		problem("it has the indexing mode none, with which there is no time to live; give it the mode consistent, with all paths excluded, or use another container")
	case !i.UpdateTimeToLive:
		problem("it has %s, not %s, and it is not allowed to change that", ttlText(current), ttlText(ttl))
	default:
		plan.add(fmt.Sprintf("change container %q from %s to %s", name, ttlText(current), ttlText(ttl)), func(ctx context.Context) error {
			return i.update(ctx, container, found, ttl)
		})
	}
	return nil
}

func ttlText(ttl *int32) string {
	switch {
	case ttl == nil:
		return "no time to live"
	case *ttl < 0:
		return "a time to live by item only"
	}
	return fmt.Sprintf("a default time to live of %d s", *ttl)
}

func (i *Initializer) throughputText() string {
	if i.Throughput == 0 {
		return ""
	}
	return fmt.Sprintf(", %d RU/s", i.Throughput)
}

// create creates a container in which items can expire, and nothing is indexed
// but what is looked for otherwise than by id.
func (i *Initializer) create(ctx context.Context, database *azcosmos.DatabaseClient, w want) error {
	name, ttl := w.name, w.ttl
	properties := azcosmos.ContainerProperties{
		ID:                     name,
		PartitionKeyDefinition: azcosmos.PartitionKeyDefinition{Paths: []string{w.key}, Kind: azcosmos.PartitionKeyKindHash},
		DefaultTimeToLive:      ttl,
		IndexingPolicy: &azcosmos.IndexingPolicy{
			Automatic:     true,
			IndexingMode:  azcosmos.IndexingModeConsistent,
			IncludedPaths: w.indexed,
			ExcludedPaths: []azcosmos.ExcludedPath{{Path: "/*"}},
		},
	}
	var options azcosmos.CreateContainerOptions
	command := "cosmosdb sql container create --database-name " + i.Database + " --name " + name + " --partition-key-path " + w.key
	if ttl != nil {
		command += fmt.Sprintf(" --ttl %d", *ttl)
	}
	if len(w.indexed) > 0 {
		// IndexingPolicy is of strings and lists alone.
		policy, _ := json.Marshal(properties.IndexingPolicy)
		command += " --idx '" + string(policy) + "'"
	}
	if i.Throughput > 0 {
		t := azcosmos.NewManualThroughputProperties(i.Throughput)
		options.ThroughputProperties = &t
		command += fmt.Sprintf(" --throughput %d", i.Throughput)
	}
	_, err := database.CreateContainer(ctx, properties, &options)
	if statusOf(err) == http.StatusBadRequest && i.Throughput > 0 {
		return fmt.Errorf("cosmos: create container %q with %d RU/s: %w: a serverless account takes no throughput", name, i.Throughput, explain(err))
	}
	return i.failed("create container", name, command, err)
}

// update changes the default time to live, and nothing else: what azcosmos does
// not know of a container's definition it would leave out, and so reset.
func (i *Initializer) update(ctx context.Context, container *azcosmos.ContainerClient, found azcosmos.ContainerResponse, ttl *int32) error {
	name := found.ContainerProperties.ID
	definition := make(map[string]json.RawMessage)
	data, err := runtime.Payload(found.RawResponse)
	if err == nil {
		err = json.Unmarshal(data, &definition)
	}
	if err != nil {
		return fmt.Errorf("cosmos: read container %q: the answer is not what it should be", name)
	}
	definition["defaultTtl"] = json.RawMessage(strconv.Itoa(int(*ttl)))
	if data, err = json.Marshal(definition); err != nil {
		return err
	}
	ctx = policy.WithHTTPHeader(context.WithValue(ctx, bodyKey{}, data), http.Header{"If-Match": {string(found.ETag)}})
	_, err = container.Replace(ctx, *found.ContainerProperties, nil)
	return i.failed("change the time to live of container", name,
		fmt.Sprintf("cosmosdb sql container update --database-name %s --name %s --ttl %d", i.Database, name, *ttl), err)
}

// failed explains an error; where a right is missing, by what an administrator
// can do instead.
func (i *Initializer) failed(verb, name, command string, err error) error {
	if err == nil {
		return nil
	}
	explained := explain(err)
	if statusOf(err) == http.StatusForbidden {
		return fmt.Errorf("cosmos: %s %q: %w; an administrator with the role DocumentDB Account Contributor can do it: az %s --account-name … --resource-group …", verb, name, explained, command)
	}
	return fmt.Errorf("cosmos: %s %q: %w", verb, name, explained)
}
