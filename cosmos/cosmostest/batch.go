package cosmostest

import (
	"encoding/json"
	"maps"
	"net/http"
)

// maxBatch is how many operations a transactional batch may have.
const maxBatch = 100

// A batchOp is one operation of a batch.
type batchOp struct {
	OperationType string
	ID            string
	ResourceBody  json.RawMessage
	IfMatch       string
	IfNoneMatch   string
}

var batchOps = map[string]Op{
	"Create": CreateItem, "Upsert": UpsertItem, "Replace": ReplaceItem, "Patch": PatchItem, "Delete": DeleteItem, "Read": ReadItem,
}

// A batchResult is what becomes of one operation.
type batchResult struct {
	StatusCode    int             `json:"statusCode"`
	SubStatusCode int             `json:"subStatusCode,omitempty"`
	RequestCharge float64         `json:"requestCharge"`
	ETag          string          `json:"eTag,omitempty"`
	ResourceBody  json.RawMessage `json:"resourceBody,omitempty"`
	Message       string          `json:"message,omitempty"`
}

// executeBatch carries out all operations of a batch or none.
func (s *Server) executeBatch(c *call, co *container) (*reply, error) {
	if !c.flag("x-ms-cosmos-batch-atomic") {
		return nil, fail(http.StatusNotImplemented, "cosmostest does not imitate batches that are not atomic")
	}
	partition, err := parsePartition(c.PartitionKey)
	if err != nil {
		return nil, err
	}
	var ops []batchOp
	if err := json.Unmarshal(c.body, &ops); err != nil {
		return nil, fail(http.StatusBadRequest, "The batch is invalid: %v", err)
	}
	if len(ops) == 0 || len(ops) > maxBatch {
		return nil, fail(http.StatusBadRequest, "Batch request has %d operations; it must have 1 to %d", len(ops), maxBatch)
	}

	before := *co
	before.items = maps.Clone(co.items)
	if items := co.items[partition]; items != nil {
		before.items[partition] = maps.Clone(items) // the versions in it do not change
	}
	results := make([]batchResult, len(ops))
	status, cost := http.StatusOK, 0.0
	for i, op := range ops {
		result, err := s.batchWrite(c, co, partition, op)
		if err != nil {
			f := asFailure(err)
			*co = before
			status = http.StatusMultiStatus
			for j := range results {
				results[j] = batchResult{StatusCode: http.StatusFailedDependency}
			}
			results[i] = batchResult{StatusCode: f.status, SubStatusCode: f.substatus, Message: f.message}
			break
		}
		results[i] = batchResult{StatusCode: result.status, RequestCharge: result.cost}
		cost += result.cost
		if d := result.document; d != nil {
			results[i].ETag = d.etag
			if !c.minimal() {
				results[i].ResourceBody = d.body
			}
		}
	}
	r := jsonReply(status, results)
	r.cost = cost
	return r, nil
}

func (s *Server) batchWrite(c *call, co *container, partition string, op batchOp) (result, error) {
	kind, ok := batchOps[op.OperationType]
	if !ok {
		return result{}, fail(http.StatusBadRequest, "The operation type %q is invalid", op.OperationType)
	}
	if kind == ReadItem {
		d := co.current(itemKey{partition, op.ID}, c.now)
		if d == nil {
			return result{}, notFound(op.ID)
		}
		if op.IfNoneMatch == d.etag {
			return result{}, fail(http.StatusNotModified, "The item is not modified")
		}
		return result{http.StatusOK, d, max(1, kib(len(d.body)))}, nil
	}
	return s.write(co, partition, itemOp{kind, op.ID, op.ResourceBody, op.IfMatch}, c.now)
}
