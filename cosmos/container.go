package cosmos

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"

	"github.com/botlapse/botlapse/state"
)

// A layout is where the container has the partition key.
type layout int

const (
	unknownLayout layout = iota
	partitioned
	legacy // without: the container is from before there were partitions
)

// A container is one container, and what must be known to use it. Its methods
// repeat what fails and can be repeated.
type container struct {
	account        *Account
	database, name string

	// fits returns the layout of a container that can be used, or else what is
	// wrong with it.
	fits func(*azcosmos.ContainerProperties) (layout, error)

	persistent bool // as for writes: see retry

	sessions sessions // by partition

	mu     sync.Mutex
	layout layout
}

// read returns an item, nil if there is none.
func (c *container) read(ctx context.Context, partition, id string) (data []byte, etag string, err error) {
	var resp azcosmos.ItemResponse
	_, err = c.retry(ctx, partition, false, func(ctx context.Context, client *azcosmos.ContainerClient) (_ *string, err error) {
		o := &azcosmos.ItemOptions{SessionToken: c.sessions.token(partition)}
		resp, err = client.ReadItem(ctx, azcosmos.NewPartitionKeyString(partition), id, o)
		return nil, err
	})
	if isAbsent(err) {
		return nil, "", nil
	}
	return resp.Value, string(resp.ETag), err
}

// write writes an item under the condition of etag, as in [state.Storage]. Where
// an answer was lost and the item is found to be another one, find tells whether
// the write is in that, which is nil if there is none. The new eTag is "" if the
// item was written, and then written by somebody else.
func (c *container) write(ctx context.Context, partition, id string, data []byte, etag string, find func(item []byte) trace) (string, error) {
	key := azcosmos.NewPartitionKeyString(partition)
	conditional := true
	var resp azcosmos.ItemResponse
	unknown, err := c.retry(ctx, partition, c.persistent, func(ctx context.Context, client *azcosmos.ContainerClient) (_ *string, err error) {
		switch etag {
		case "", state.ETagAny:
			conditional = false
			resp, err = client.UpsertItem(ctx, key, data, nil)
		case state.ETagNone:
			resp, err = client.CreateItem(ctx, key, data, nil)
		default:
			resp, err = client.ReplaceItem(ctx, key, id, data, &azcosmos.ItemOptions{IfMatchEtag: (*azcore.ETag)(&etag)})
		}
		return resp.SessionToken, err
	})
	refused := isAbsent(err) && conditional
	switch statusOf(err) {
	case http.StatusConflict, http.StatusPreconditionFailed:
		refused = true
	case http.StatusRequestEntityTooLarge:
		return "", fmt.Errorf("%w: %w", tooLarge(len(data)), err)
	}
	switch {
	case err == nil:
		return string(resp.ETag), nil
	case refused && unknown:
		// Perhaps an earlier attempt was carried out, and its answer lost.
		found, etag, readErr := c.read(ctx, partition, id)
		if readErr != nil {
			return "", fmt.Errorf("%w (it may have been written)", readErr)
		}
		switch find(found) {
		case current:
			return etag, nil
		case overwritten:
			return "", nil
		case noTrace:
			return "", fmt.Errorf("%w (it may have been written, and overwritten)", err)
		}
		return "", fmt.Errorf("%w: %w", state.ErrConflict, err)
	case refused:
		return "", fmt.Errorf("%w: %w", state.ErrConflict, err)
	case unknown:
		return "", fmt.Errorf("%w (it may have been written)", err)
	}
	return "", err
}

// field returns the text in a field of an item, "" if there is none.
func field(item []byte, name string) string {
	var fields map[string]json.RawMessage // whose names are exact, unlike those of a struct
	var text string
	if json.Unmarshal(item, &fields) != nil || json.Unmarshal(fields[name], &text) != nil {
		return ""
	}
	return text
}

// remove deletes an item under the condition of etag, unless that is "". Unknown
// says that it may have been deleted, though there is an error.
func (c *container) remove(ctx context.Context, partition, id, etag string) (unknown bool, err error) {
	unknown, err = c.retry(ctx, partition, false, func(ctx context.Context, client *azcosmos.ContainerClient) (*string, error) {
		o := &azcosmos.ItemOptions{}
		if etag != "" {
			o.IfMatchEtag = (*azcore.ETag)(&etag)
		}
		resp, err := client.DeleteItem(ctx, azcosmos.NewPartitionKeyString(partition), id, o)
		return resp.SessionToken, err
	})
	switch {
	case etag == "" || err == nil:
		return unknown, err
	case isAbsent(err), statusOf(err) == http.StatusPreconditionFailed:
		return unknown, fmt.Errorf("%w: %w", state.ErrConflict, err)
	case unknown:
		err = fmt.Errorf("%w (it may have been deleted)", err)
	}
	return unknown, err
}

// query calls yield with the items of one partition that a query selects, size
// of them to a page, until yield returns false.
func (c *container) query(ctx context.Context, partition, text string, parameters []azcosmos.QueryParameter, size int, yield func(item []byte) bool) error {
	var page azcosmos.QueryItemsResponse
	for first := true; first || page.ContinuationToken != nil; first = false {
		_, err := c.retry(ctx, partition, false, func(ctx context.Context, client *azcosmos.ContainerClient) (*string, error) {
			pager := client.NewQueryItemsPager(text, azcosmos.NewPartitionKeyString(partition), &azcosmos.QueryOptions{
				SessionToken:              c.sessions.token(partition),
				QueryParameters:           parameters,
				PageSizeHint:              int32(size),
				ContinuationToken:         page.ContinuationToken,
				EnableCrossPartitionQuery: new(bool),
			})
			next, err := pager.NextPage(ctx)
			if err == nil {
				page = next
			}
			return nil, err
		})
		if err != nil {
			return err
		}
		for _, item := range page.Items {
			if !yield(item) {
				return nil
			}
		}
	}
	return nil
}
