package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
)

// Pending returns how many calls wait to be committed.
func (s *Storage) Pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending)
}

// Check returns how many items the file holds, expired or not, and how many of
// them wait for their expiry. The error says what is wrong with the file or
// with its index. There must be no writer.
func (s *Storage) Check() (items, expiring int, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		f := contents(tx)
		errs = append(errs, f.items.ForEach(func(k, v []byte) error {
			items++
			if r, _ := f.stored(k); r.expires != 0 {
				expiring++
				if f.expiry.Get(expiryKey(r.expires, k)) == nil {
					return fmt.Errorf("item %q has a TTL and is not in the index", k)
				}
			}
			return nil
		}))
		indexed := 0
		errs = append(errs, f.expiry.ForEach(func(k, v []byte) error {
			indexed++
			if r, _ := f.stored(k[timeSize:]); r.expires != binary.BigEndian.Uint64(k) {
				return fmt.Errorf("the index has a wrong time for %q", k[timeSize:])
			}
			return nil
		}))
		if indexed != expiring {
			errs = append(errs, fmt.Errorf("%d items have a TTL, but %d are in the index", expiring, indexed))
		}
		return errors.Join(errs...)
	})
	return items, expiring, err
}
