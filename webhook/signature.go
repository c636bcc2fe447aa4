package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

var (
	// ErrSecret reports a secret that is not whsec_ and the base64 form of 24 to
	// 64 bytes, or that is missing.
	ErrSecret = errors.New("must be whsec_ and the base64 form of 24 to 64 bytes")

	// ErrHeader reports a request of which webhook-id, webhook-timestamp or
	// webhook-signature is missing, or cannot be what it should be. It comes from
	// somebody else.
	ErrHeader = errors.New("webhook: a header is missing or malformed")

	// ErrSignature reports a request that no secret has signed: it comes from
	// somebody else, somebody has changed it, or the secret is another one.
	ErrSignature = errors.New("webhook: no signature matches")

	// ErrTimestamp reports a request that was signed, but too long ago or too far
	// ahead: somebody has recorded it and sends it again, or a clock is wrong.
	ErrTimestamp = errors.New("webhook: signed more than 5 minutes ago or ahead")
)

const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"

	// tolerance is how far the timestamp of a request may be from now.
	tolerance = 5 * time.Minute
)

// Verify checks that the sender of a request knows one of the secrets, and has
// signed it no more than 5 minutes before or after now. Several secrets are for
// the time in which one takes the place of another.
//
// The body is what was received, to the byte: JSON that was read and written
// again is signed by nobody. Whoever reads it bounds its size. It is not
// interpreted, so that a request of any sender that follows Standard Webhooks
// 1.0.0 can be verified, if it has a signature of version v1.
//
// A request that is verified may come again, from a sender who did not get the
// answer, or within the 5 minutes from somebody who has recorded it. Its
// webhook-id, which is the id of the [Event], tells.
//
// The error is [ErrSecret], for no secrets too, [ErrHeader], [ErrSignature] or
// [ErrTimestamp]. Its text has nothing of the request or of a secret. To compare
// two signatures takes the same time wherever they differ.
func Verify(secrets []string, header http.Header, body []byte, now time.Time) error {
	if len(secrets) == 0 {
		return fmt.Errorf("webhook: secret %w", ErrSecret)
	}
	keys := make([][]byte, len(secrets))
	for i, secret := range secrets {
		var err error
		if keys[i], err = parseSecret("secret", secret); err != nil {
			return err
		}
	}
	id, timestamp := header.Get(headerID), header.Get(headerTimestamp)
	seconds, err := strconv.ParseUint(timestamp, 10, 40)
	if !isID(id) || err != nil || header.Get(headerSignature) == "" {
		return ErrHeader
	}
	if !matches(strings.Fields(header.Get(headerSignature)), sign(keys, id, timestamp, body)) {
		return ErrSignature
	}
	if age := now.Sub(time.Unix(int64(seconds), 0)); age > tolerance || age < -tolerance {
		return ErrTimestamp
	}
	return nil
}

// matches reports whether a signature is one of those that are wanted.
func matches(signatures, wanted []string) bool {
	for _, signature := range signatures {
		for _, want := range wanted {
			if hmac.Equal([]byte(signature), []byte(want)) {
				return true
			}
		}
	}
	return false
}

// sign signs a request with each of the keys.
func sign(keys [][]byte, id, timestamp string, body []byte) []string {
	signatures := make([]string, len(keys))
	for i, key := range keys {
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return signatures
}

// parseSecret returns the key that a secret stands for. The error has its name.
func parseSecret(name, secret string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(secret, "whsec_")
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(key) < 24 || len(key) > 64 {
		return nil, fmt.Errorf("webhook: %s %w", name, ErrSecret)
	}
	return key, nil
}
