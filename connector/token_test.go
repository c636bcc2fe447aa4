package connector_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/botlapse/botlapse/connector"
)

func TestAGoodTokenIsAccepted(t *testing.T) {
	k := rsaKeys()
	for _, test := range []struct {
		name  string
		token func(*authority) string
	}{
		{"of the channel", func(a *authority) string { return sign(a.claims(), a.channel[0]) }},
		{"in RS384", func(a *authority) string { return signWith(a.claims(), jwt.SigningMethodRS384, "c1", k[0]) }},
		{"in RS512", func(a *authority) string { return signWith(a.claims(), jwt.SigningMethodRS512, "c1", k[0]) }},
		{"with one audience in an array", func(a *authority) string { return sign(with(a.claims(), "aud", []string{appID}), a.channel[0]) }},
		{"expired 4 min 59 s ago", func(a *authority) string { return sign(with(a.claims(), "exp", time.Now().Unix()-299), a.channel[0]) }},
		{"valid in 5 min", func(a *authority) string { return sign(with(a.claims(), "nbf", time.Now().Unix()+300), a.channel[0]) }},
		{"without nbf", func(a *authority) string { return sign(with(a.claims(), "nbf", nil), a.channel[0]) }},
		{"of the Emulator, version 1", func(a *authority) string { return sign(a.emulatorClaims(), a.entra[0]) }},
		{"of the Emulator, without a version", func(a *authority) string { return sign(with(a.emulatorClaims(), "ver", nil), a.entra[0]) }},
		{"of the Emulator, version 2", func(a *authority) string {
			return sign(with(a.emulatorClaims(), "ver", "2.0", "appid", nil, "azp", appID, "iss", "https://login.test/"+tenantID+"/v2.0"), a.entra[0])
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDoor(t, newAuthority(), connector.Options{})
				if w := d.post(test.token(d.authority), d.activity()); w.Code != 200 || d.sends.Load() != 1 {
					t.Errorf("answer is %d %s, log:\n%s", w.Code, w.Body, d.log)
				}
			})
		})
	}
}

// A hostile request is one that must not become a turn.
type hostile struct {
	name   string
	token  func(*authority) string // nil for a good one
	body   func(*authority) string // nil for a good one
	edit   func(*http.Request)
	status int
	log    string // what the log says of it
}

func claims(changes ...any) func(*authority) string {
	return func(a *authority) string { return sign(with(a.claims(), changes...), a.channel[0]) }
}

func emulator(changes ...any) func(*authority) string {
	return func(a *authority) string { return sign(with(a.emulatorClaims(), changes...), a.entra[0]) }
}

func literal(token string) func(*authority) string {
	return func(*authority) string { return token }
}

// edited returns a good token with one of its parts changed.
func edited(part int, edit func(string) string) func(*authority) string {
	return func(a *authority) string {
		parts := strings.Split(sign(a.claims(), a.channel[0]), ".")
		parts[part] = edit(parts[part])
		return strings.Join(parts, ".")
	}
}

func encoded(s string) func(string) string {
	return func(string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
}

func bodyOf(body string) func(*authority) string {
	return func(a *authority) string { return strings.ReplaceAll(body, "SERVICE", a.url+"/teams") }
}

func header(name string, values ...string) func(*http.Request) {
	return func(r *http.Request) { r.Header[name] = values }
}

func hostiles() []hostile {
	k := rsaKeys()
	const at = `"channelId":"msteams","serviceUrl":"SERVICE","conversation":{"id":"c"},"from":{"id":"u"}`
	public, _ := x509.MarshalPKIXPublicKey(&k[0].PublicKey)
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	return []hostile{
		// The header.
		{name: "no Authorization header", edit: func(r *http.Request) { r.Header.Del("Authorization") }, status: 401, log: "no Authorization header"},
		{name: "an empty Authorization header", edit: header("Authorization", ""), status: 401, log: "has no bearer token"},
		{name: "Bearer and nothing", edit: header("Authorization", "Bearer "), status: 401, log: "has no bearer token"},
		{name: "another scheme", edit: header("Authorization", "Basic dXNlcjpzd29yZGZpc2g="), status: 401, log: "has no bearer token"},
		{name: "a token without a scheme", edit: func(r *http.Request) {
			r.Header.Set("Authorization", strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		}, status: 401, log: "has no bearer token"},
		{name: "two tokens in one header", edit: func(r *http.Request) {
			r.Header.Set("Authorization", r.Header.Get("Authorization")+" "+r.Header.Get("Authorization"))
		}, status: 401, log: "has no bearer token"},
		{name: "two Authorization headers", edit: func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }, status: 401, log: "more than one Authorization header"},
		{name: "a token of 1 MiB", token: literal(strings.Repeat("a", 1<<20)), status: 401, log: "too long"},
		{name: "a token with NUL bytes", token: literal("a\x00.b.c"), status: 401, log: "malformed"},
		{name: "a token of dots", token: literal("......"), status: 401, log: "malformed"},
		{name: "a token of two parts", token: literal("e30.e30"), status: 401, log: "malformed"},
		{name: "a token that is no base64", token: literal("$.$.$"), status: 401, log: "malformed"},
		{name: "an encrypted token of five parts", token: literal("e30.e30.e30.e30.e30"), status: 401, log: "malformed"},

		// The signature.
		{name: "alg none", token: func(a *authority) string {
			return signWith(a.claims(), jwt.SigningMethodNone, "c1", jwt.UnsafeAllowNoneSignatureType)
		}, status: 401, log: "the signature is not"},
		{name: "alg None in capitals", token: edited(0, encoded(`{"alg":"NONE","kid":"c1"}`)), status: 401, log: "the signature is not"},
		{name: "HS256 with the public key", token: func(a *authority) string { return signWith(a.claims(), jwt.SigningMethodHS256, "c1", publicPEM) }, status: 401, log: "the signature is not"},
		{name: "PS256, which is not among the allowed", token: func(a *authority) string { return signWith(a.claims(), jwt.SigningMethodPS256, "c1", k[0]) }, status: 401, log: "the signature is not"},
		{name: "no alg", token: edited(0, encoded(`{"kid":"c1"}`)), status: 401, log: "the signature is not"},
		{name: "an alg that is a number", token: edited(0, encoded(`{"alg":256,"kid":"c1"}`)), status: 401, log: "the header's alg cannot be a number"},
		{name: "a wrong key with a known kid", token: func(a *authority) string { return signWith(a.claims(), jwt.SigningMethodRS256, "c1", k[3]) }, status: 401, log: `the signature is not by key`},
		{name: "an unknown kid", token: func(a *authority) string { return signWith(a.claims(), jwt.SigningMethodRS256, "c9", k[3]) }, status: 401, log: `is unknown`},
		{name: "no kid", token: func(a *authority) string { return signWith(a.claims(), jwt.SigningMethodRS256, nil, k[0]) }, status: 401, log: "names no key"},
		{name: "a kid that is a number", token: func(a *authority) string { return signWith(a.claims(), jwt.SigningMethodRS256, 7, k[0]) }, status: 401, log: "the header's kid cannot be a number"},
		{name: "a key in the header", token: func(a *authority) string {
			forged := jwt.NewWithClaims(jwt.SigningMethodRS256, a.claims())
			forged.Header["kid"], forged.Header["jwk"] = "c1", (&signer{id: "c1", key: k[3]}).jwk()
			s, _ := forged.SignedString(k[3])
			return s
		}, status: 401, log: "the signature is not by key"},
		{name: "the channel's claims signed by Entra ID", token: func(a *authority) string { return sign(a.claims(), a.entra[0]) }, status: 401, log: "is unknown"},
		{name: "the Emulator's claims signed by the channel", token: func(a *authority) string { return sign(a.emulatorClaims(), a.channel[0]) }, status: 401, log: "is unknown"},
		{name: "claims changed after signing", token: edited(1, encoded(`{"iss":"https://api.botframework.test","aud":"`+appID+`","exp":99999999999}`)), status: 401, log: "the signature is not"},
		{name: "no signature", token: edited(2, func(string) string { return "" }), status: 401, log: "the signature is not"},
		{name: "half a signature", token: edited(2, func(s string) string { return s[:len(s)/2] }), status: 401, log: ""},

		// The claims.
		{name: "expired by 5 min", token: func(a *authority) string { return sign(with(a.claims(), "exp", time.Now().Unix()-300), a.channel[0]) }, status: 401, log: "expired"},
		{name: "expired by 5 min 1 s", token: func(a *authority) string { return sign(with(a.claims(), "exp", time.Now().Unix()-301), a.channel[0]) }, status: 401, log: "expired"},
		{name: "valid in 5 min 1 s", token: func(a *authority) string { return sign(with(a.claims(), "nbf", time.Now().Unix()+301), a.channel[0]) }, status: 401, log: "not valid yet"},
		{name: "no exp", token: claims("exp", nil), status: 401, log: "claim exp is missing"},
		{name: "exp in the year 1970", token: claims("exp", 0), status: 401, log: "claim exp is missing"},
		{name: "exp that is not a number", token: claims("exp", []int{}), status: 401, log: "the token's exp cannot be an array"},
		{name: "nbf beyond all times", token: claims("nbf", 1e300), status: 401, log: "not valid yet"},
		{name: "exp that is a string", token: claims("exp", "tomorrow"), status: 401, log: "the token's exp cannot be a string"},
		{name: "exp beyond all numbers", token: edited(1, encoded(`{"iss":"https://api.botframework.test","exp":1e999}`)), status: 401, log: "the token's exp cannot be a number of that size"},
		{name: "claims that are an array", token: edited(1, encoded(`[]`)), status: 401, log: "the token is no JSON object but an array"},
		{name: "a wrong audience", token: claims("aud", "somebody-else"), status: 403, log: "claim aud"},
		{name: "no audience", token: claims("aud", nil), status: 403, log: "claim aud"},
		{name: "this bot and others as audience", token: claims("aud", []string{appID, "somebody-else"}), status: 403, log: "claim aud"},
		{name: "an audience that is a number", token: claims("aud", 7), status: 403, log: "claim aud"},
		{name: "an audience that is an array of arrays", token: claims("aud", []any{[]any{appID}}), status: 403, log: "claim aud"},
		{name: "a wrong issuer", token: claims("iss", "https://api.botframework.evil"), status: 401, log: "is not an issuer for this bot"},
		{name: "no issuer", token: claims("iss", nil), status: 401, log: "is not an issuer for this bot"},
		{name: "an issuer that is an object", token: claims("iss", map[string]any{}), status: 401, log: "the token's iss cannot be an object"},
		{name: "serviceurl missing", token: claims("serviceurl", nil), status: 403, log: "claim serviceurl is missing"},
		{name: "serviceurl of another channel", token: claims("serviceurl", "https://smba.test/"), status: 403, log: "claim serviceurl is not the activity's"},
		{name: "serviceurl that is not a string", token: claims("serviceurl", []string{"https://authority.test/teams"}), status: 401, log: "the token's serviceurl cannot be an array"},
		{name: "a key without endorsements", token: func(a *authority) string { return sign(a.claims(), a.channel[1]) }, status: 403, log: "is not endorsed for channel"},
		{name: "a channel that the key is not endorsed for", body: bodyOf(`{"type":"message","channelId":"facebook","serviceUrl":"SERVICE","conversation":{"id":"c"},"from":{"id":"u"}}`), status: 403, log: "is not endorsed for channel"},
		{name: "no channel", body: bodyOf(`{"type":"message","serviceUrl":"SERVICE","conversation":{"id":"c"},"from":{"id":"u"}}`), status: 403, log: "is not endorsed for channel"},
		{name: "no serviceUrl in the activity", body: bodyOf(`{"type":"message","channelId":"msteams","conversation":{"id":"c"},"from":{"id":"u"}}`), status: 403, log: "claim serviceurl is not the activity's"},
		{name: "an Emulator token of another app", token: emulator("appid", "somebody-else"), status: 403, log: "claim appid"},
		{name: "an Emulator token for another app", token: emulator("aud", "somebody-else"), status: 403, log: "claim aud"},
		{name: "an Emulator token of version 2 of another app", token: emulator("ver", "2.0", "azp", "somebody-else"), status: 403, log: "claim azp"},
		{name: "a user's token for this app", token: emulator("scp", "access_as_user"), status: 403, log: "claims scp"},
		{name: "a token of a client without a secret", token: emulator("appidacr", "0"), status: 403, log: "claims scp"},
		{name: "a token of version 2 of a client without a secret", token: emulator("ver", "2.0", "azp", appID, "azpacr", "0"), status: 403, log: "claims scp"},
		{name: "an Emulator token of version 3", token: emulator("ver", "3.0"), status: 403, log: "claim ver"},
		{name: "an Emulator token of another tenant", token: emulator("iss", "https://sts.test/other-tenant/"), status: 401, log: "is not an issuer for this bot"},
		{name: "a token that the bot sends by, sent back", token: emulator("aud", "https://api.botframework.test"), status: 403, log: "claim aud"},
		{name: "an http serviceUrl", token: claims("serviceurl", "http://authority.test/teams"), body: bodyOf(`{"type":"message","channelId":"msteams","serviceUrl":"http://authority.test/teams","conversation":{"id":"c"},"from":{"id":"u"}}`), status: 403, log: "no https URL"},
		{name: "a file serviceUrl by an Emulator token", token: emulator(), body: bodyOf(`{"type":"message","channelId":"emulator","serviceUrl":"file:///etc/passwd","conversation":{"id":"c"},"from":{"id":"u"}}`), status: 403, log: "no http or https URL"},

		// The body, with a good token.
		{name: "no body", body: bodyOf(``), status: 400},
		{name: "a body that is no JSON", body: bodyOf(`<activity/>`), status: 400},
		{name: "a truncated body", body: bodyOf(`{"type":"message",` + at), status: 400},
		{name: "a body of NUL bytes", body: bodyOf(strings.Repeat("\x00", 100)), status: 400},
		{name: "an array", body: bodyOf(`[{"type":"message"}]`), status: 400},
		{name: "null", body: bodyOf(`null`), status: 400},
		{name: "no type", body: bodyOf(`{` + at + `}`), status: 400},
		{name: "a type that is a number", body: bodyOf(`{"type":1,` + at + `}`), status: 400},
		{name: "wrong types everywhere", body: bodyOf(`{"type":{},"channelId":[],"serviceUrl":{},"conversation":"c","from":1,"attachments":{}}`), status: 400},
		{name: "100000 levels of arrays", body: bodyOf(`{"type":"message","value":` + strings.Repeat("[", 100000)), status: 400},
		{name: "100000 members", body: bodyOf(`{"type":"conversationUpdate","membersAdded":[` + strings.Repeat("{},", 80000) + `{}],` + at + `}`), status: 400},
		{name: "a body over 256 KiB", body: bodyOf(`{"type":"message",` + at + `,"text":"` + strings.Repeat("a", 256<<10) + `"}`), status: 413},
	}
}

// TestHostileRequests sends every hostile request in every one of its ways,
// and then a good one, which must be served.
func TestHostileRequests(t *testing.T) {
	for _, test := range hostiles() {
		test.run(t)
	}
}

// run sends a hostile request, and then a good one, which must be served.
func (test *hostile) run(t *testing.T) {
	t.Run(test.name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d := newDoor(t, newAuthority(), connector.Options{})
			good := sign(d.claims(), d.channel[0])
			token, body := good, d.activity()
			if test.token != nil {
				token = test.token(d.authority)
			}
			if test.body != nil {
				body = test.body(d.authority)
			}
			read := &countingReader{Reader: strings.NewReader(body)}
			r := httptest.NewRequest(http.MethodPost, "/api/messages", read)
			r.Header.Set("Authorization", "Bearer "+token)
			if test.edit != nil {
				test.edit(r)
			}
			w := d.serve(r)
			if w.Code != test.status {
				t.Errorf("status is %d, want %d", w.Code, test.status)
			}
			if line := w.Body.String(); strings.Count(line, "\n") != 1 {
				t.Errorf("the answer is %q, want one line", line)
			} else if want := map[int]string{401: "not authentic\n", 403: "not for this bot\n"}[test.status]; want != "" && line != want && !strings.HasPrefix(line, "the serviceUrl") {
				t.Errorf("the answer is %q, want %q", line, want)
			}
			if got := w.Header().Get("WWW-Authenticate"); (got == "Bearer") != (test.status == 401) {
				t.Errorf("WWW-Authenticate is %q", got)
			}
			if test.status == 401 && read.n > 0 {
				t.Errorf("%d bytes of the body were read", read.n)
			}
			if log := d.log.String(); !strings.Contains(log, test.log) || strings.Contains(log, token) && len(token) > 10 {
				t.Errorf("the log is\n%s, want %q, and not the token", log, test.log)
			}
			if d.turns.Load() != 0 || d.sends.Load() != 0 {
				t.Error("it became a turn")
			}
			if w := d.post(good, d.activity()); w.Code != 200 {
				t.Errorf("after it, a good request is answered with %d", w.Code)
			}
		})
	})
}

type countingReader struct {
	io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// What is odd but harmless is served.
func TestOddRequestsAreServed(t *testing.T) {
	for name, text := range map[string]string{
		"invalid UTF-8":  "\xff\xfe",
		"escaped NUL":    `\u0000`,
		"lone surrogate": `\ud800`,
		"unknown fields": `","x":1,"x":2,"TOPICNAME":[],"relate\u017fTo":{"user":{"id":"u2"}},"label":"`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDoor(t, newAuthority(), connector.Options{})
				body := strings.Replace(d.activity(), "the user's words", text, 1)
				if w := d.post(sign(d.claims(), d.channel[0]), body); w.Code != 200 || d.turns.Load() != 1 {
					t.Errorf("answer is %d %s", w.Code, w.Body)
				}
			})
		})
	}
}

func TestAMultiTenantBotTakesTokensOfTheEmulatorsTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		app := a.app()
		app.Type, app.TenantID = "", ""
		d := newDoor(t, a, connector.Options{App: app})
		if w := d.post(sign(with(a.emulatorClaims(), "iss", "https://sts.test/emulator-tenant/", "tid", "emulator-tenant"), a.entra[0]), a.activity()); w.Code != 200 {
			t.Errorf("answer is %d, log:\n%s", w.Code, d.log)
		}
		if w := d.post(sign(a.emulatorClaims(), a.entra[0]), a.activity()); w.Code != 401 {
			t.Errorf("a token of another tenant is answered with %d", w.Code)
		}
		if got := a.lastToken.Load(); got != "Bearer bot-token-1-of-botframework.test" {
			t.Errorf("sent with %q", got)
		}
	})
}

// TestKeysAreFetchedOnceAtTheStart has 1000 requests arrive at once.
func TestKeysAreFetchedOnceAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.trouble = func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			fmt.Fprintf(w, `{"jwks_uri":%q}`, a.url+"/channel/keys")
		}
		d := newDoor(t, a, connector.Options{})
		token := sign(a.claims(), a.channel[0])
		codes := make(chan int)
		for i := range 1000 {
			go func() {
				body := strings.Replace(a.activity(), `"m1"`, fmt.Sprintf(`"m%d"`, i), 1)
				codes <- d.post(token, strings.Replace(body, "a:1", fmt.Sprint("a:", i), 1)).Code
			}()
		}
		for range 1000 {
			if code := <-codes; code != 200 {
				t.Fatalf("answer is %d", code)
			}
		}
		if m, k, tokens := a.metadataRequests.Load(), a.keyRequests.Load(), a.tokenRequests.Load(); m != 1 || k != 1 || tokens != 1 {
			t.Errorf("%d requests for metadata, %d for keys, %d for tokens, want 1 each", m, k, tokens)
		}
	})
}

func TestAFloodOfUnknownKeysCausesOneFetchAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, newAuthority(), connector.Options{})
		good := sign(d.claims(), d.channel[0])
		d.post(good, d.activity())
		begin := d.keyRequests.Load()
		for i := range 6000 { // for 10 minutes
			forged := signWith(d.claims(), jwt.SigningMethodRS256, fmt.Sprint("k", i), rsaKeys()[3])
			if w := d.post(forged, d.activity()); w.Code != 401 {
				t.Fatalf("answer is %d", w.Code)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := d.keyRequests.Load() - begin; n > 10 || n < 9 {
			t.Errorf("%d requests for keys in 10 minutes", n)
		}
	})
}

// TestRotation changes the keys while 100 requests a second run.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, newAuthority(), connector.Options{})
		k := rsaKeys()
		signers := []*signer{{id: "c1", key: k[0], endorsements: []string{"msteams"}}, {id: "c2", key: k[1], endorsements: []string{"msteams"}}, {id: "c3", key: k[2], endorsements: []string{"msteams"}}}
		tokens := make([]string, len(signers))
		refused := make([]time.Duration, len(signers))
		for i, s := range signers {
			d.set(func() { d.channel = signers[i : i+1] }) // and the old one is gone
			tokens[i] = sign(with(d.claims(), "exp", time.Now().Add(time.Hour).Unix()), s)
			for range 90 * 100 {
				if w := d.post(tokens[i], d.activity()); w.Code == 401 {
					refused[i] += 10 * time.Millisecond
				} else if w.Code != 200 {
					t.Fatalf("answer is %d", w.Code)
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		for i, r := range refused {
			if r > time.Minute {
				t.Errorf("tokens of key %d were refused for %v", i, r)
			}
		}
		if w := d.post(tokens[0], d.activity()); w.Code != 401 {
			t.Errorf("the token of a withdrawn key is answered with %d", w.Code)
		}
	})
}

// TestTroubleWithKeys has the documents of the issuer fail in many ways, from
// the start and after the keys were fetched once.
func TestTroubleWithKeys(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	for _, test := range []struct {
		name    string
		trouble http.HandlerFunc
		takes   time.Duration // at most, to the first answer
	}{
		{"down", answer(503, "sorry"), 0},
		{"unreachable", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0},
		{"hanging", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 10 * time.Second},
		{"garbage", answer(200, "<html>"), 0},
		{"an array", answer(200, "[]"), 0},
		{"without jwks_uri", answer(200, "{}"), 0},
		{"with a jwks_uri that is no URL", answer(200, `{"jwks_uri":"::"}`), 0},
		{"with a jwks_uri in clear", answer(200, `{"jwks_uri":"http://authority.test/channel/keys"}`), 0},
		{"redirecting", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.test/metadata", http.StatusFound)
		}, 0},
		{"too large", answer(200, `{"jwks_uri":"https://authority.test/channel/keys","x":"`+strings.Repeat("a", 1<<20)+`"}`), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority()
				d := newDoor(t, a, connector.Options{})
				token := sign(with(a.claims(), "exp", time.Now().Add(100*time.Hour).Unix()), a.channel[0])

				a.set(func() { a.trouble = test.trouble })
				begin := time.Now()
				w := d.post(token, a.activity())
				if took := time.Since(begin); w.Code != 503 || w.Header().Get("Retry-After") == "" || took > test.takes {
					t.Errorf("without keys: answer is %d after %v", w.Code, took)
				}
				before := a.metadataRequests.Load()
				for range 100 {
					d.post(token, a.activity())
				}
				if n := a.metadataRequests.Load() - before; n > 1 {
					t.Errorf("100 requests at once caused %d fetches", n)
				}

				a.set(func() { a.trouble = nil })
				time.Sleep(2 * time.Second)
				if w := d.post(token, a.activity()); w.Code != 200 {
					t.Fatalf("with keys: answer is %d, log:\n%s", w.Code, d.log)
				}

				a.set(func() { a.trouble = test.trouble })
				for range 30 {
					time.Sleep(time.Hour)
					begin := time.Now()
					if w := d.post(token, a.activity()); w.Code != 200 || time.Since(begin) != 0 {
						t.Fatalf("with old keys: answer is %d after %v", w.Code, time.Since(begin))
					}
				}
			})
		})
	}
}

// Keys that are of no use do not spoil the others.
func TestUselessKeysAreLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		small, err := rsa.GenerateKey(rand.Reader, 1024)
		if err != nil {
			t.Fatal(err)
		}
		a.channel = append(a.channel,
			&signer{id: "small", key: small, endorsements: []string{"msteams"}},
			&signer{public: map[string]any{"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"}},
			&signer{public: map[string]any{"kty": "EC", "kid": "ec", "crv": "P-256", "x": "AA", "y": "AA"}},
			&signer{public: map[string]any{"kty": "oct", "kid": "secret", "k": "c2VjcmV0"}},
			&signer{public: map[string]any{"kty": 7}},
		)
		d := newDoor(t, a, connector.Options{})
		if w := d.post(sign(a.claims(), a.channel[0]), a.activity()); w.Code != 200 {
			t.Errorf("answer is %d, log:\n%s", w.Code, d.log)
		}
		if w := d.post(sign(a.claims(), a.channel[2]), a.activity()); w.Code != 401 {
			t.Errorf("a token of a key of 1024 bits is answered with %d", w.Code)
		}
		if w := d.post(signWith(a.claims(), jwt.SigningMethodHS256, "secret", []byte("secret")), a.activity()); w.Code != 401 {
			t.Errorf("a token of a symmetric key is answered with %d", w.Code)
		}
	})
}

func TestCloseEndsFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.trouble = func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		d := newDoor(t, a, connector.Options{})
		done := make(chan int)
		go func() { done <- d.post(sign(a.claims(), a.channel[0]), a.activity()).Code }()
		synctest.Wait()
		begin := time.Now()
		d.base.Close()
		d.base.Close()
		if code := <-done; code != 503 || time.Since(begin) != 0 {
			t.Errorf("answer is %d after %v", code, time.Since(begin))
		}
		if err := d.base.Ready(context.Background()); err == nil {
			t.Error("it is ready after Close")
		}
	})
}

func FuzzAuthorization(f *testing.F) {
	a := newAuthority()
	d := newDoor(f, a, connector.Options{})
	for _, h := range hostiles() {
		if h.token != nil {
			f.Add("Bearer " + h.token(a))
		}
	}
	f.Add("bearer " + sign(a.claims(), a.channel[0]))
	f.Add("Basic x")
	signed := sign(a.claims(), a.channel[0])
	f.Fuzz(func(t *testing.T, value string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(a.activity()))
		r.Header["Authorization"] = []string{value}
		_, err := d.base.ParseRequest(t.Context(), r)
		if err == nil && len(value) < len(signed) {
			t.Errorf("%q is accepted", value)
		}
		if err != nil && len(value) > 40 && bytes.Contains([]byte(err.Error()), []byte(value)) {
			t.Errorf("the error has the token: %v", err)
		}
	})
}

// What does it cost to check the token of one request, its key being known? The
// body is empty, and refused once the token was found good.
func BenchmarkVerify(b *testing.B) {
	a := newAuthority()
	d := newDoor(b, a, connector.Options{})
	token, body := sign(a.claims(), a.channel[0]), strings.NewReader("{}")
	d.post(token, a.activity())
	r := httptest.NewRequest(http.MethodPost, "/", io.NopCloser(body))
	r.Header.Set("Authorization", "Bearer "+token)
	b.ReportAllocs()
	for b.Loop() {
		body.Seek(0, io.SeekStart)
		if _, err := d.base.ParseRequest(b.Context(), r); err == nil || err.Error() != "the activity has no type" {
			b.Fatal(err)
		}
	}
}

// What does a whole turn cost, with the checks of its token and one reply?
func BenchmarkAuthenticatedTurn(b *testing.B) {
	a := newAuthority()
	d := newDoor(b, a, connector.Options{})
	token := sign(a.claims(), a.channel[0])
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if w := d.post(token, strings.Replace(a.activity(), `"m1"`, fmt.Sprintf(`"m%d"`, i), 1)); w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
}
