package cosmos

import (
	"crypto/rand"
	"slices"
	"strings"
)

// The field writeIds of an item names writes that led to it, so that one whose
// answer was lost is found again, also under what others have written since.
// First comes the id of the write that began the list. The others are, in order,
// the last write of each Storage: however often others write, they do not push it
// out. A Storage that writes on top of its own write knows from the list that the
// first was carried out, and takes note of it if that waits to be repeated.
//
// A list that becomes too long is begun anew, and so is one of which it is not
// known what comes before. So, where the list is still the one that a write went
// by, and the write is not in it, it was not carried out.
const (
	maxWriteIDs = 8

	// An id is the name of a Storage, and what tells its writes apart: as many
	// characters of 5 bits as keep ids apart that meet in one item.
	writerSize  = 5
	writingSize = 4

	// noItem begins the list of an item that was created.
	noItem = "0"
)

func newWriter() string { return rand.Text()[:writerSize] }

// A writing is a write on its way into an item.
type writing struct {
	id, before, after string // before and after it, the lists
}

// begin begins a write on top of what has the list before, which is "" if it is
// not known. The write is under way until its id is deleted from s.underWay.
func (s *Storage) begin(before string) writing {
	w := writing{id: s.writer + rand.Text()[:writingSize], before: before}
	ids := strings.Fields(before)
	for i := len(ids) - 1; i >= 0; i-- {
		if strings.HasPrefix(ids[i], s.writer) {
			s.underWay.CompareAndSwap(ids[i], false, true)
			if i > 0 {
				ids = slices.Delete(ids, i, i+1)
			}
		}
	}
	if ids = append(ids, w.id); len(ids) > maxWriteIDs {
		ids = append([]string{w.id}, ids[2:maxWriteIDs]...)
	}
	w.after = strings.Join(ids, " ")
	s.underWay.Store(w.id, false)
	return w
}

// A trace is what an item tells of a write that may have been carried out.
type trace int

const (
	noTrace     trace = iota // nothing
	notDone                  // it was not carried out
	current                  // the item is what it wrote
	overwritten              // it was carried out, and the item written again since
)

// trace returns the trace of a write in an item that has a list.
func (s *Storage) trace(w writing, list string) trace {
	done, _ := s.underWay.Load(w.id)
	ids, begin := strings.Fields(list), strings.Fields(w.before)
	switch {
	case list == w.after:
		return current
	case done == true || slices.Contains(ids, w.id):
		return overwritten
	case len(ids) > 0 && len(begin) > 0 && ids[0] == begin[0]:
		return notDone
	}
	return noTrace
}

// joinTag makes the tag of a [state.Item] from the service's, which is in quotes,
// and the list of the item.
func joinTag(etag, list string) string {
	if before, ok := strings.CutSuffix(etag, `"`); ok && list != "" {
		return before + " " + list + `"`
	}
	return etag
}

// splitTag takes such a tag apart. One of the service's own has no list.
func splitTag(tag string) (etag, list string) {
	before, quoted := strings.CutSuffix(tag, `"`)
	if etag, list, ok := strings.Cut(before, " "); ok && quoted {
		return etag + `"`, list
	}
	return tag, ""
}
