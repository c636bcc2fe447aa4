package cosmostest

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// maxPatch is how many operations a patch may have.
const maxPatch = 10

// A patchOp is one operation of a patch.
type patchOp struct {
	Op    string
	Path  string
	Value json.RawMessage
}

// fixed are the members of an item that cannot be patched.
var fixed = []string{"id", "_rid", "_self", "_etag", "_attachments", "_ts"}

// patch returns the item that a patch, which is body, makes of old.
func (co *container) patch(old *document, body []byte) ([]byte, error) {
	var patch struct {
		Condition  string
		Operations []patchOp
	}
	err := json.Unmarshal(body, &patch)
	if bytes.HasPrefix(body, []byte("[")) { // some SDKs send the operations alone
		err = json.Unmarshal(body, &patch.Operations)
	}
	if err != nil {
		return nil, fail(http.StatusBadRequest, "The patch is invalid: %v", err)
	}
	if n := len(patch.Operations); n == 0 || n > maxPatch {
		return nil, fail(http.StatusBadRequest, "The patch has %d operations; it must have 1 to %d", n, maxPatch)
	}
	if patch.Condition != "" {
		where, err := parseCondition(patch.Condition)
		if err != nil {
			return nil, err
		}
		if where.eval(&old.element) != true {
			return nil, fail(http.StatusPreconditionFailed, "The item does not meet the condition of the patch")
		}
	}
	item := old.body
	for i, op := range patch.Operations {
		names, err := co.patchPath(op.Path)
		if err == nil {
			item, err = op.apply(item, names)
		}
		if err != nil {
			return nil, fail(http.StatusBadRequest, "The patch is invalid: operation %d, %s %s: %v", i, op.Op, op.Path, err)
		}
	}
	return item, nil
}

// patchPath splits the path of a patch and refuses those that are fixed.
func (co *container) patchPath(path string) ([]string, error) {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok || rest == "" {
		return nil, fail(http.StatusBadRequest, "the path must begin with / and name a member")
	}
	names := strings.Split(rest, "/")
	for i, name := range names {
		names[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
	}
	key := co.definition.partitionKey
	if slices.Contains(fixed, names[0]) || slices.Equal(names, key[:min(len(names), len(key))]) {
		return nil, fail(http.StatusBadRequest, "the path is one of the id, the partition key or a system property")
	}
	return names, nil
}

// apply returns what op makes of value, an object or array, at the path names.
func (op patchOp) apply(value json.RawMessage, names []string) (json.RawMessage, error) {
	name, below := names[0], names[1:]
	if o, ok := parseObject(value); ok {
		member := o.get(name)
		changed, err := op.at(member, below)
		switch {
		case err != nil:
			return nil, err
		case changed == nil:
			o.delete(name)
		default:
			o.set(name, changed)
		}
		return o.encode(), nil
	}
	var list []json.RawMessage
	if value == nil || json.Unmarshal(value, &list) != nil || list == nil {
		return nil, fail(http.StatusBadRequest, "there is no object or array above %s", name)
	}
	i, err := strconv.Atoi(name)
	if name == "-" {
		i, err = len(list), nil
	}
	inserts := len(below) == 0 && op.Op == "add"
	if err != nil || i < 0 || i > len(list) {
		return nil, fail(http.StatusBadRequest, "there is no element %s in an array of %d", name, len(list))
	}
	var element json.RawMessage
	if i < len(list) && !inserts {
		element = list[i]
	}
	changed, err := op.at(element, below)
	switch {
	case err != nil:
		return nil, err
	case element == nil:
		list = slices.Insert(list, i, changed)
	case changed == nil:
		list = slices.Delete(list, i, i+1)
	default:
		list[i] = changed
	}
	return toJSON(list), nil
}

// at returns what op makes of a member or element, which is nil where there is
// none, or changes what is below it.
func (op patchOp) at(member json.RawMessage, below []string) (json.RawMessage, error) {
	if len(below) > 0 {
		return op.apply(member, below)
	}
	value := op.Value
	if value == nil {
		value = json.RawMessage("null") // azcosmos leaves out what is empty
	}
	switch op.Op {
	case "add", "set":
		return value, nil
	case "replace", "remove":
		if member == nil {
			return nil, fail(http.StatusBadRequest, "there is nothing at the path")
		}
		if op.Op == "remove" {
			return nil, nil
		}
		return value, nil
	case "incr":
		return increment(member, value)
	}
	return nil, fail(http.StatusBadRequest, "the operation is none of add, set, replace, remove and incr, or cosmostest does not imitate it")
}

func increment(member, by json.RawMessage) (json.RawMessage, error) {
	if member == nil {
		member = json.RawMessage("0")
	}
	var sum float64
	for _, raw := range []json.RawMessage{member, by} {
		var number *float64
		if json.Unmarshal(raw, &number) != nil || number == nil {
			return nil, fail(http.StatusBadRequest, "%s is no number", raw)
		}
		sum += *number
	}
	if math.IsInf(sum, 0) {
		return nil, fail(http.StatusBadRequest, "the sum is too large")
	}
	return toJSON(sum), nil
}
