package outbound

import (
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"
)

// ReadAnswer reads the body of an answer, limit bytes at most, and closes it.
// If that was all of it, the connection can be used again. Status 101 has no
// body but the connection, which no context bounds, so nothing of it is read.
func ReadAnswer(resp *http.Response, limit int64) ([]byte, error) {
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil, nil
	}
	return io.ReadAll(io.LimitReader(resp.Body, limit))
}

// RetryAfter returns how long an answer asks to wait, in seconds or until a
// date: 0 if it does not, or if the date is past; the longest time there is if
// the number of seconds has more than 31 bits.
func RetryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	} else if errors.Is(err, strconv.ErrRange) {
		return math.MaxInt64
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}
