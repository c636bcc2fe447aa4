package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

var (
	// ErrLocked reports that the file is open already, in this process or in
	// another one.
	ErrLocked = errors.New("file is in use")

	// ErrFormat reports a file that is damaged or was not written by this
	// package, or by a version of it that keeps items in another way.
	ErrFormat = errors.New("not a state file")
)

// Open opens the file at path, which it creates if there is none; its
// directory must exist. A new file may be read and written by its owner only.
//
// One process at a time can have a file open, and only once. If another one
// has it, Open does not wait but returns an error that wraps [ErrLocked]. A
// file with other contents is left as it is, with an error that wraps
// [ErrFormat]; if it is damaged, it may stay in use until the process ends.
// Other errors are those of the system, such as [fs.ErrNotExist] or
// [fs.ErrPermission].
func Open(path string) (*Storage, error) {
	db, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("bolt: open %q: %w", path, err)
	}
	return &Storage{db: db, committing: make(chan struct{}, 1)}, nil
}

func open(path string) (db *bbolt.DB, err error) {
	// The file is mapped into memory. Where it is damaged or cut off, bbolt
	// panics or the memory faults, and the mapping stays, and the lock with it.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			db, err = nil, fmt.Errorf("%w: %v", ErrFormat, v)
		}
	}()

	db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:      1, // the least: 0 would be to wait for ever
		FreelistType: bbolt.FreelistMapType,
	})
	if err != nil {
		return nil, openError(err)
	}
	if err := prepare(db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// openError returns the meaning of an error of bbolt.Open.
func openError(err error) error {
	var pathErr *fs.PathError
	var errno syscall.Errno
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return ErrLocked
	case errors.As(err, &pathErr):
		return pathErr.Err // Open names the path
	case errors.As(err, &errno):
		return err
	default:
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
}

// prepare makes the buckets if there is nothing in the database, and else
// checks that it is one of this package and complete.
func prepare(db *bbolt.DB) error {
	empty := true
	err := db.View(func(tx *bbolt.Tx) error {
		if k, _ := tx.Cursor().First(); k == nil {
			return nil
		}
		empty = false
		b := tx.Bucket(stateBucket)
		if b == nil {
			return fmt.Errorf("%w: no bucket %q", ErrFormat, stateBucket)
		}
		if got := b.Get(formatKey); string(got) != format {
			return fmt.Errorf("%w: format %q, want %q", ErrFormat, got, format)
		}
		info, err := os.Stat(db.Path())
		if err == nil && info.Size() < tx.Size() {
			err = fmt.Errorf("%w: %d bytes of %d are missing", ErrFormat, tx.Size()-info.Size(), tx.Size())
		}
		return err
	})
	if err != nil || !empty {
		return err
	}

	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket(stateBucket)
		if err != nil {
			return err
		}
		if _, err := b.CreateBucket(itemsBucket); err != nil {
			return err
		}
		if _, err := b.CreateBucket(expiryBucket); err != nil {
			return err
		}
		return b.Put(formatKey, []byte(format))
	})
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(db.Path()))
}

// syncDir puts the name of a new file on the disk, as bbolt does its contents.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil // there it cannot be done
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
