package cosmostest_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"

	"github.com/botlapse/botlapse/cosmos/cosmostest"
)

func TestContainersAndDatabases(t *testing.T) {
	overBoth(t, byID, func(t *testing.T, s *cosmostest.Server, client *azcosmos.Client) {
		ctx := context.Background()
		ok := must[azcosmos.ContainerResponse](t)
		_, err := client.CreateDatabase(ctx, azcosmos.DatabaseProperties{ID: "db"}, nil)
		wantStatus(t, err, 409)
		_, err = client.CreateDatabase(ctx, azcosmos.DatabaseProperties{ID: "other"}, nil)
		wantStatus(t, err, 0)
		database := must[*azcosmos.DatabaseClient](t)(client.NewDatabase("other"))
		if got, err := database.Read(ctx, nil); err != nil || got.DatabaseProperties.ID != "other" {
			t.Errorf("read %v, %v", got.DatabaseProperties, err)
		}

		seconds := int32(1800)
		definition := azcosmos.ContainerProperties{
			ID:                     "state",
			PartitionKeyDefinition: azcosmos.PartitionKeyDefinition{Paths: []string{"/id"}},
			DefaultTimeToLive:      &seconds,
			IndexingPolicy: &azcosmos.IndexingPolicy{
				IndexingMode:  azcosmos.IndexingModeConsistent,
				ExcludedPaths: []azcosmos.ExcludedPath{{Path: "/*"}},
			},
		}
		_, err = database.CreateContainer(ctx, definition, nil)
		wantStatus(t, err, 0)
		_, err = database.CreateContainer(ctx, definition, nil)
		wantStatus(t, err, 409)

		container := must[*azcosmos.ContainerClient](t)(database.NewContainer("state"))
		got := ok(container.Read(ctx, nil))
		if p := got.ContainerProperties; p.DefaultTimeToLive == nil || *p.DefaultTimeToLive != 1800 || p.IndexingPolicy.ExcludedPaths[0].Path != "/*" || p.PartitionKeyDefinition.Paths[0] != "/id" || got.ETag == "" {
			t.Errorf("read %+v", p)
		}

		// What is read and written back stays, what is left out is reset.
		ok(container.Replace(ctx, *got.ContainerProperties, nil))
		definition.DefaultTimeToLive, definition.IndexingPolicy = nil, nil
		ok(container.Replace(ctx, definition, nil))
		if p := ok(container.Read(ctx, nil)).ContainerProperties; p.DefaultTimeToLive != nil || len(p.IndexingPolicy.IncludedPaths) != 1 {
			t.Errorf("after a replace that leaves out all: %+v", p)
		}
		definition.PartitionKeyDefinition.Paths = []string{"/other"}
		_, err = container.Replace(ctx, definition, nil)
		wantStatus(t, err, 400)

		definition.PartitionKeyDefinition.Paths, definition.ID = []string{"/id"}, "renamed"
		_, err = container.Replace(ctx, definition, nil)
		wantStatus(t, err, 400)
		definition.ID = "state"
		_, err = container.Replace(policy.WithHTTPHeader(ctx, http.Header{"If-Match": {string(got.ETag)}}), definition, nil)
		wantStatus(t, err, 412)
		_, err = container.Delete(policy.WithHTTPHeader(ctx, http.Header{"If-Match": {string(got.ETag)}}), nil)
		wantStatus(t, err, 412)
		ok(container.Delete(ctx, nil))
		_, err = container.Delete(ctx, nil)
		wantStatus(t, err, 404)
		_, err = database.CreateContainer(ctx, definition, nil)
		wantStatus(t, err, 0)

		if _, err := database.Delete(ctx, nil); err != nil {
			t.Fatal(err)
		}
		_, err = container.Read(ctx, nil)
		wantStatus(t, err, 404)
		_, err = container.ReadItem(ctx, pk("a"), "a", nil)
		if status(err) != 404 || substatus(err) != "1003" {
			t.Errorf("read of an item of no container: %v", err)
		}
		_, err = database.CreateContainer(ctx, definition, nil)
		wantStatus(t, err, 404)
		_, err = database.Read(ctx, nil)
		wantStatus(t, err, 404)
		_, err = database.Delete(ctx, nil)
		wantStatus(t, err, 404)
	})
}

func TestContainerDefinitions(t *testing.T) {
	const key = `"partitionKey":{"paths":["/id"]}`
	for _, test := range []struct {
		name, definition string
		want             int
	}{
		{"a partition key alone will do", `{"id":"c",` + key + `}`, 201},
		{"a defaultTtl of -1 is accepted", `{"id":"c",` + key + `,"defaultTtl":-1}`, 201},
		{"a defaultTtl of 0 is refused", `{"id":"c",` + key + `,"defaultTtl":0}`, 400},
		{"a defaultTtl of -2 is refused", `{"id":"c",` + key + `,"defaultTtl":-2}`, 400},
		{"a defaultTtl that is a string is refused", `{"id":"c",` + key + `,"defaultTtl":"30"}`, 400},
		{"a defaultTtl with no index is refused", `{"id":"c",` + key + `,"defaultTtl":30,"indexingPolicy":{"indexingMode":"None"}}`, 400},
		{"a defaultTtl with all paths excluded is accepted", `{"id":"c",` + key + `,"defaultTtl":30,"indexingPolicy":{"indexingMode":"Consistent","excludedPaths":[{"path":"/*"}]}}`, 201},
		{"no index is accepted", `{"id":"c",` + key + `,"indexingPolicy":{"indexingMode":"none"}}`, 201},
		{"an unknown indexing mode is refused", `{"id":"c",` + key + `,"indexingPolicy":{"indexingMode":"eager"}}`, 400},
		{"indexed paths that are no list are refused", `{"id":"c",` + key + `,"indexingPolicy":{"includedPaths":"/*"}}`, 400},
		{"a missing partition key is refused", `{"id":"c"}`, 400},
		{"a partition key that is no path is refused", `{"id":"c","partitionKey":{"paths":["id"]}}`, 400},
		{"a partition key with an open quote is refused", `{"id":"c","partitionKey":{"paths":["/\"id"]}}`, 400},
		{"a partition key of two paths is not imitated", `{"id":"c","partitionKey":{"paths":["/a","/b"],"kind":"MultiHash"}}`, 501},
		{"unique keys are not imitated", `{"id":"c",` + key + `,"uniqueKeyPolicy":{"uniqueKeys":[{"paths":["/a"]}]}}`, 501},
		{"a missing id is refused", `{` + key + `}`, 400},
		{"an id with a slash is refused", `{"id":"a/b",` + key + `}`, 400},
		{"an id that is taken is refused", `{"id":"items",` + key + `}`, 409},
		{"what is no JSON is refused", `{"id":"c",`, 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, byID)
			response, body := raw{"POST", "/dbs/db/colls", nil, test.definition}.send(t, s)
			if response.StatusCode != test.want {
				t.Errorf("status %d, want %d: %s", response.StatusCode, test.want, body)
			}
			if err := s.CreateContainer("new", test.definition); (err == nil) != (test.want < 400 || test.want == 409) {
				t.Errorf("CreateContainer: %v", err)
			}
		})
	}
}

func TestThroughput(t *testing.T) {
	ctx := t.Context()
	for _, test := range []struct {
		name       string
		throughput azcosmos.ThroughputProperties
		serverless bool
		want       int
	}{
		{"manual throughput is accepted", azcosmos.NewManualThroughputProperties(400), false, 0},
		{"too little manual throughput is refused", azcosmos.NewManualThroughputProperties(300), false, 400},
		{"odd manual throughput is refused", azcosmos.NewManualThroughputProperties(450), false, 400},
		{"autoscale throughput is accepted", azcosmos.NewAutoscaleThroughputProperties(1000), false, 0},
		{"odd autoscale throughput is refused", azcosmos.NewAutoscaleThroughputProperties(1500), false, 400},
		{"a serverless account refuses manual throughput", azcosmos.NewManualThroughputProperties(400), true, 400},
		{"a serverless account refuses autoscale throughput", azcosmos.NewAutoscaleThroughputProperties(1000), true, 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, byID)
			s.Serverless = test.serverless
			client := connect(t, s)
			_, err := client.CreateDatabase(ctx, azcosmos.DatabaseProperties{ID: "new"}, &azcosmos.CreateDatabaseOptions{ThroughputProperties: &test.throughput})
			wantStatus(t, err, test.want)
			if err != nil {
				return
			}
			database := must[*azcosmos.DatabaseClient](t)(client.NewDatabase("new"))
			_, err = database.ReadThroughput(ctx, nil)
			wantStatus(t, err, 501)
		})
	}
}
