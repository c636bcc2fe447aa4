package wire

import (
	"bytes"
	"io"
	"net/http"
)

// A Body is a request body that is read into memory at once, when it is first
// read at all, and only once, whoever reads it.
type Body struct {
	source io.ReadCloser
	size   int64

	read   bool
	data   []byte
	err    error
	unread *bytes.Reader
}

// NewBody returns the body of r, of which it reads max bytes at most; beyond
// that its error is a *http.MaxBytesError.
func NewBody(w http.ResponseWriter, r *http.Request, max int64) *Body {
	return &Body{source: http.MaxBytesReader(w, r.Body, max), size: r.ContentLength}
}

// maxHint is how much of what a sender says of the size is believed.
const maxHint = 16 << 10

// Bytes returns the whole body.
func (b *Body) Bytes() ([]byte, error) {
	if !b.read {
		buf := bytes.NewBuffer(make([]byte, 0, min(max(b.size, 0), maxHint)+bytes.MinRead))
		_, b.err = buf.ReadFrom(b.source)
		b.read, b.data = true, buf.Bytes()
		b.unread = bytes.NewReader(b.data)
	}
	return b.data, b.err
}

// WasRead reports whether anybody has read the body.
func (b *Body) WasRead() bool { return b.read }

func (b *Body) Read(p []byte) (int, error) {
	if _, err := b.Bytes(); err != nil {
		return 0, err
	}
	return b.unread.Read(p)
}

// Close implements io.Closer.
func (b *Body) Close() error { return b.source.Close() }

// ReadBody reads the body of r, max bytes at most; beyond that its error is a
// *http.MaxBytesError.
func ReadBody(r *http.Request, max int64) ([]byte, error) {
	b, ok := r.Body.(*Body)
	if !ok {
		b = NewBody(nil, r, max)
	}
	data, err := b.Bytes()
	if err == nil && int64(len(data)) > max {
		err = &http.MaxBytesError{Limit: max}
	}
	return data, err
}
