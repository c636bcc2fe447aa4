package wire

import (
	"bytes"
	"io"
	"net/http"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/internal/object"
)

// A Body is a request body that is read into memory at once, when it is first
// read at all, and only once, whoever reads it.
type Body struct {
	source io.ReadCloser
	size   int64
	owner  any

	read    bool
	data    []byte
	err     error
	unread  *bytes.Reader
	checked bool
}

// NewBody returns the body of r, of which it reads max bytes at most; beyond
// that its error is a *http.MaxBytesError. The owner, if there is one, is the
// base adapter that is asked to read it: see [Body.Activity].
func NewBody(w http.ResponseWriter, r *http.Request, max int64, owner any) *Body {
	return &Body{source: http.MaxBytesReader(w, r.Body, max), size: r.ContentLength, owner: owner}
}

// maxHint is how much of what a sender says of the size is believed.
const maxHint = 16 << 10

// Bytes returns the whole body.
func (b *Body) Bytes() ([]byte, error) {
	if !b.read {
		buf := bytes.NewBuffer(make([]byte, 0, min(max(b.size, 0), maxHint)+bytes.MinRead))
		_, b.err = buf.ReadFrom(b.source)
		b.read, b.data = true, buf.Bytes()
		if len(b.data) > maxHint {
			b.data = bytes.Clone(b.data) // the buffer may be twice as large
		}
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

// Activity decodes a body that was read. Nothing that a sender says is its
// callerId, because only a token can prove one: the activity has none, and what
// [Body.Bytes] returns afterwards has none either.
//
// To the owner of the body, the activity is what [Check] returns: whoever has
// made the body decodes it when the time has come. An adapter around the owner
// is not the owner, and gets all of it.
func (b *Body) Activity(reader any) (schema.Activity, error) {
	decode := Decode
	if b.owner != nil && b.owner == reader {
		decode, b.checked = Check, true
	}
	a, err := decode(b.data)
	if a.CallerID != "" {
		o, _ := object.ParseValid(b.data)
		o.Delete("callerId")
		b.data = o.Encode()
		a.CallerID = ""
	}
	return a, err
}

// WasChecked reports whether the owner has got the activity, and nobody has
// decoded it.
func (b *Body) WasChecked() bool { return b.checked }

// ReadBody reads the body of r, max bytes at most; beyond that its error is a
// *http.MaxBytesError.
func ReadBody(r *http.Request, max int64) (*Body, error) {
	b, ok := r.Body.(*Body)
	if !ok {
		b = NewBody(nil, r, max, nil)
	}
	data, err := b.Bytes()
	if err == nil && int64(len(data)) > max {
		err = &http.MaxBytesError{Limit: max}
	}
	return b, err
}
