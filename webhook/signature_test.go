package webhook_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/botlapse/botlapse/webhook"
)

// The vector of the reference libraries of Standard Webhooks, the same in all
// languages.
const (
	secret        = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorID      = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorTime    = 1614265330
	vectorBody    = `{"test": 2432232314}`
	vectorSigned  = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	vectorUnknown = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
)

const otherSecret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

func vectorHeader() http.Header {
	h := http.Header{}
	h.Set("webhook-id", vectorID)
	h.Set("webhook-timestamp", strconv.Itoa(vectorTime))
	h.Set("webhook-signature", vectorSigned)
	return h
}

func TestVerify(t *testing.T) {
	set := func(name, value string) func(http.Header) {
		return func(h http.Header) { h.Set(name, value) }
	}
	for _, test := range []struct {
		name    string
		change  func(http.Header) // nil for none
		secrets []string          // nil for the vector's
		body    string            // "" for the vector's
		late    time.Duration
		want    error
	}{
		{name: "the vector of the reference libraries is good"},
		{name: "without id", change: func(h http.Header) { h.Del("webhook-id") }, want: webhook.ErrHeader},
		{name: "without timestamp", change: func(h http.Header) { h.Del("webhook-timestamp") }, want: webhook.ErrHeader},
		{name: "without signature", change: func(h http.Header) { h.Del("webhook-signature") }, want: webhook.ErrHeader},
		{name: "an id with a full stop could take a part of what follows it", change: set("webhook-id", "a.b"), want: webhook.ErrHeader},
		{name: "an id with a line break", change: set("webhook-id", "a\nb"), want: webhook.ErrHeader},
		{name: "a timestamp in words", change: set("webhook-timestamp", "hello"), want: webhook.ErrHeader},
		{name: "a timestamp with a fraction", change: set("webhook-timestamp", "1614265330.0"), want: webhook.ErrHeader},
		{name: "a timestamp with a sign", change: set("webhook-timestamp", "+1614265330"), want: webhook.ErrHeader},
		{name: "a negative timestamp", change: set("webhook-timestamp", "-1614265330"), want: webhook.ErrHeader},
		{name: "a timestamp that overflows", change: set("webhook-timestamp", "9223372036854775807"), want: webhook.ErrHeader},
		{name: "another spelling of the timestamp was not signed", change: set("webhook-timestamp", "01614265330"), want: webhook.ErrSignature},
		{name: "another timestamp was not signed", change: set("webhook-timestamp", "1614265331"), want: webhook.ErrSignature},
		{name: "another id was not signed", change: set("webhook-id", vectorID+"x"), want: webhook.ErrSignature},
		{name: "another body was not signed", body: `{"test":2432232314}`, want: webhook.ErrSignature},
		{name: "another signature", change: set("webhook-signature", vectorUnknown), want: webhook.ErrSignature},
		{name: "a signature with one bit changed", change: set("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA="), want: webhook.ErrSignature},
		{name: "a part of the signature", change: set("webhook-signature", vectorSigned[:8]), want: webhook.ErrSignature},
		{name: "an empty signature", change: set("webhook-signature", "v1,"), want: webhook.ErrSignature},
		{name: "a comma", change: set("webhook-signature", ","), want: webhook.ErrSignature},
		{name: "a signature without version", change: set("webhook-signature", strings.TrimPrefix(vectorSigned, "v1,")), want: webhook.ErrSignature},
		{name: "a signature of another version", change: set("webhook-signature", "v1a"+strings.TrimPrefix(vectorSigned, "v1")), want: webhook.ErrSignature},
		{name: "one of several signatures is enough", change: set("webhook-signature", strings.Join([]string{vectorUnknown, "v2" + vectorUnknown[2:], vectorSigned, vectorUnknown}, " "))},
		{name: "a secret that is on its way out", secrets: []string{otherSecret, secret}},
		{name: "another secret", secrets: []string{otherSecret}, want: webhook.ErrSignature},
		{name: "no secret", secrets: []string{}, want: webhook.ErrSecret},
		{name: "one secret of two is none", secrets: []string{secret, ""}, want: webhook.ErrSecret},
		{name: "5 minutes after it was signed", late: 5 * time.Minute},
		{name: "more than 5 minutes after it was signed", late: 5*time.Minute + 1, want: webhook.ErrTimestamp},
		{name: "5 minutes before it was signed", late: -5 * time.Minute},
		{name: "more than 5 minutes before it was signed", late: -5*time.Minute - 1, want: webhook.ErrTimestamp},
		{name: "300 years after it was signed", late: 1<<63 - 1, want: webhook.ErrTimestamp},
		{name: "what nobody has signed is not said to be old", change: set("webhook-signature", vectorUnknown), late: time.Hour, want: webhook.ErrSignature},
	} {
		t.Run(test.name, func(t *testing.T) {
			header, body := vectorHeader(), vectorBody
			if test.change != nil {
				test.change(header)
			}
			if test.body != "" {
				body = test.body
			}
			secrets := test.secrets
			if secrets == nil {
				secrets = []string{secret}
			}
			if err := webhook.Verify(secrets, header, []byte(body), time.Unix(vectorTime, 0).Add(test.late)); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

func TestSecrets(t *testing.T) {
	of := func(n int) string { return "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xfe}, n)) }
	for name, test := range map[string]struct {
		secret string
		good   bool
	}{
		"24 bytes":               {of(24), true},
		"64 bytes":               {of(64), true},
		"23 bytes":               {of(23), false},
		"65 bytes":               {of(65), false},
		"nothing":                {"", false},
		"only the prefix":        {"whsec_", false},
		"no prefix":              {strings.TrimPrefix(of(24), "whsec_"), false},
		"the prefix in capitals": {"WHSEC_" + strings.TrimPrefix(of(24), "whsec_"), false},
		"a private key":          {"whsk_" + strings.TrimPrefix(of(64), "whsec_"), false},
		"no padding":             {strings.TrimRight(of(25), "="), false},
		"base64 for URLs":        {"whsec_" + base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xfe}, 24)), false},
		"a space at the end":     {of(24) + " ", false},
	} {
		t.Run(name, func(t *testing.T) {
			err := webhook.Verify([]string{test.secret}, vectorHeader(), nil, time.Unix(vectorTime, 0))
			if errors.Is(err, webhook.ErrSecret) == test.good {
				t.Errorf("Verify: %v", err)
			}
			_, err = webhook.New("https://hooks.test", test.secret, nil)
			if (err == nil) != test.good || !test.good && !errors.Is(err, webhook.ErrSecret) {
				t.Errorf("New: %v", err)
			}
			_, err = webhook.New("https://hooks.test", secret, &webhook.Options{OldSecret: test.secret})
			if (err == nil) != (test.good || test.secret == "") || err != nil && !errors.Is(err, webhook.ErrSecret) {
				t.Errorf("New, as the old secret: %v", err)
			}
		})
	}
}

// FuzzVerify compares Verify with the few lines of Standard Webhooks: whatever
// is good has the signature that they compute, and what has it is good.
func FuzzVerify(f *testing.F) {
	f.Add(vectorID, "1614265330", vectorSigned, []byte(vectorBody), int64(vectorTime), false)
	f.Add(vectorID, "1614265330", "v1a,x v1,y "+vectorSigned, []byte(vectorBody), int64(vectorTime+300), false)
	f.Add("a.1", "2", "", []byte(".{}"), int64(0), true)
	f.Add("", "99999999999999999999", ",", []byte{0xff}, int64(-1), true)
	f.Fuzz(func(t *testing.T, id, timestamp, signatures string, body []byte, now int64, sign bool) {
		now %= 1 << 40
		key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + timestamp + "." + string(body)))
		signed := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
		if sign {
			signatures += " " + signed
		}
		header := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {timestamp}, "Webhook-Signature": {signatures}}
		err := webhook.Verify([]string{otherSecret, secret}, header, body, time.Unix(now, 0))

		isSigned := slices.Contains(strings.Fields(signatures), signed)
		at, atErr := strconv.ParseInt(timestamp, 10, 64)
		inTime := atErr == nil && at >= now-300 && at <= now+300
		switch {
		case err == nil && !(isSigned && inTime):
			t.Errorf("good, but signed: %v, in time: %v", isSigned, inTime)
		case errors.Is(err, webhook.ErrSignature) && isSigned:
			t.Error("signed, but no signature matches")
		case errors.Is(err, webhook.ErrTimestamp) && !(isSigned && !inTime):
			t.Errorf("%v, but signed: %v, in time: %v", err, isSigned, inTime)
		case errors.Is(err, webhook.ErrSecret):
			t.Error(err)
		}
		if err == nil {
			if err := webhook.Verify([]string{otherSecret}, header, body, time.Unix(now, 0)); !errors.Is(err, webhook.ErrSignature) {
				t.Errorf("with another secret: %v", err)
			}
			if err := webhook.Verify([]string{secret}, header, append(slices.Clip(body), ' '), time.Unix(now, 0)); !errors.Is(err, webhook.ErrSignature) {
				t.Errorf("with another body: %v", err)
			}
		}
	})
}
