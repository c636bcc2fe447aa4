package cosmostest

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
)

// RoundTrip implements [http.RoundTripper]: it serves r without a socket and
// without a goroutine, and so also in a bubble of [testing/synctest].
func (s *Server) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	answer, err := s.serve(r, r.URL.Scheme+"://"+r.URL.Host)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		Status:        strconv.Itoa(answer.status) + " " + http.StatusText(answer.status),
		StatusCode:    answer.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        answer.header,
		Body:          io.NopCloser(bytes.NewReader(answer.body)),
		ContentLength: int64(len(answer.body)),
		Request:       r,
	}, nil
}

// Do is RoundTrip under the name that the Azure SDK has for it: a Server can be
// the Transport of azcore's ClientOptions.
func (s *Server) Do(r *http.Request) (*http.Response, error) { return s.RoundTrip(r) }
