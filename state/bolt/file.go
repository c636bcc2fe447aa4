package bolt

import (
	"encoding/binary"
	"strconv"
	"time"

	"go.etcd.io/bbolt"
)

// The file has one bucket of this package, "state". In it are the key "format"
// and two buckets:
//
//	"items"   key → eTag, time of expiry, value
//	"expiry"  time of expiry, key → nothing; for the items that have a TTL
//
// Numbers have 8 bytes, the most significant first, so that "expiry" is in
// order of time. Times are nanoseconds since 1970; 0 means never. As unsigned
// numbers, they last for the longest TTL on top of the last time.Now that
// UnixNano can tell.
var (
	stateBucket  = []byte("state")
	itemsBucket  = []byte("items")
	expiryBucket = []byte("expiry")
	formatKey    = []byte("format")
)

// format is the version of all this.
const format = "1"

const (
	timeSize   = 8
	headerSize = 8 + timeSize
)

// A file is what a transaction sees of the items.
type file struct {
	items, expiry *bbolt.Bucket
	now           uint64
}

func contents(tx *bbolt.Tx) *file {
	b := tx.Bucket(stateBucket)
	return &file{items: b.Bucket(itemsBucket), expiry: b.Bucket(expiryBucket), now: now()}
}

// A record is a stored item. Its value is valid until the end of the
// transaction, and not to be changed.
type record struct {
	etag    uint64
	expires uint64
	value   []byte
}

// get returns what is stored under key and has not expired.
func (f *file) get(key []byte) (r record, ok bool) {
	r, ok = f.stored(key)
	return r, ok && (r.expires == 0 || f.now < r.expires)
}

// stored returns what is stored under key, expired or not.
func (f *file) stored(key []byte) (r record, ok bool) {
	b := f.items.Get(key)
	if b == nil {
		return record{}, false
	}
	return record{
		etag:    binary.BigEndian.Uint64(b),
		expires: binary.BigEndian.Uint64(b[8:]),
		value:   b[headerSize:],
	}, true
}

// put stores value under key, whatever is there, and returns its eTag. The
// bucket counts the eTags, so that none comes twice in the life of the file.
func (f *file) put(key, value []byte, ttl time.Duration) (etag uint64, err error) {
	if r, ok := f.stored(key); ok && r.expires != 0 {
		if err := f.expiry.Delete(expiryKey(r.expires, key)); err != nil {
			return 0, err
		}
	}
	etag, err = f.items.NextSequence()
	if err != nil {
		return 0, err
	}
	var expires uint64
	if ttl > 0 {
		expires = f.now + uint64(ttl)
		if err := f.expiry.Put(expiryKey(expires, key), nil); err != nil {
			return 0, err
		}
	}
	b := make([]byte, 0, headerSize+len(value))
	b = binary.BigEndian.AppendUint64(b, etag)
	b = binary.BigEndian.AppendUint64(b, expires)
	b = append(b, value...)
	return etag, f.items.Put(key, b)
}

// remove removes what is stored under key, expired or not, and reports whether
// there was anything.
func (f *file) remove(key []byte) (removed bool, err error) {
	r, ok := f.stored(key)
	if !ok {
		return false, nil
	}
	if r.expires != 0 {
		if err := f.expiry.Delete(expiryKey(r.expires, key)); err != nil {
			return false, err
		}
	}
	return true, f.items.Delete(key)
}

// free removes up to n expired items, those first that expired first.
func (f *file) free(n int) error {
	var expired [][]byte // a cursor does not bear deletions
	c := f.expiry.Cursor()
	for k, _ := c.First(); k != nil && len(expired) < n && binary.BigEndian.Uint64(k) <= f.now; k, _ = c.Next() {
		expired = append(expired, k[timeSize:])
	}
	for _, key := range expired {
		if _, err := f.remove(key); err != nil {
			return err
		}
	}
	return nil
}

func expiryKey(expires uint64, key []byte) []byte {
	b := make([]byte, 0, timeSize+len(key))
	return append(binary.BigEndian.AppendUint64(b, expires), key...)
}

func formatETag(etag uint64) string { return strconv.FormatUint(etag, 10) }
