package connector_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/connector"
)

const (
	appID    = "11111111-aaaa-4bbb-8ccc-222222222222"
	tenantID = "33333333-aaaa-4bbb-8ccc-444444444444"
	password = "swordfish~the.app-password"
)

// rsaKeys are made once: that takes long.
var rsaKeys = sync.OnceValue(func() (keys [4]*rsa.PrivateKey) {
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

// A signer is a key of an issuer.
type signer struct {
	id           string
	key          *rsa.PrivateKey
	endorsements []string
	public       map[string]any // instead of key's JWK
}

func (s *signer) jwk() map[string]any {
	if s.public != nil {
		return s.public
	}
	jwk := map[string]any{
		"kty": "RSA", "use": "sig", "kid": s.id, "x5t": s.id,
		"n": base64.RawURLEncoding.EncodeToString(s.key.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(s.key.E)).Bytes()),
	}
	if s.endorsements != nil {
		jwk["endorsements"] = s.endorsements
	}
	return jwk
}

// An authority is the Bot Framework, Entra ID and a channel: it publishes
// keys, issues tokens, and takes what the bot sends.
type authority struct {
	url string

	mu       sync.Mutex
	channel  []*signer
	entra    []*signer
	trouble  http.HandlerFunc // for metadata and keys; nil for none
	noToken  http.HandlerFunc // for token requests; nil for none
	onSend   http.HandlerFunc // what the channel does; nil for 201
	lifetime time.Duration    // of the tokens that it issues

	metadataRequests, keyRequests, tokenRequests, sends atomic.Int64
	issued                                              atomic.Int64 // tokens
	lastToken                                           atomic.Value // the Authorization of the last send
}

func newAuthority() *authority {
	k := rsaKeys()
	return &authority{
		url:      "https://authority.test",
		channel:  []*signer{{id: "c1", key: k[0], endorsements: []string{"msteams", "webchat"}}, {id: "unendorsed", key: k[2]}},
		entra:    []*signer{{id: "e1", key: k[1]}},
		lifetime: time.Hour,
	}
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	trouble, noToken, onSend, lifetime := a.trouble, a.noToken, a.onSend, a.lifetime
	channel, entra := a.channel, a.entra
	a.mu.Unlock()
	answer := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v)
	}
	keys := func(signers []*signer) {
		jwks := []any{}
		for _, s := range signers {
			jwks = append(jwks, s.jwk())
		}
		answer(map[string]any{"keys": jwks})
	}
	path := r.URL.Path
	switch {
	case strings.HasSuffix(path, "/metadata"):
		a.metadataRequests.Add(1)
		if trouble != nil {
			trouble(w, r)
			return
		}
		answer(map[string]any{"issuer": "x", "jwks_uri": a.url + strings.TrimSuffix(path, "metadata") + "keys"})
	case path == "/channel/keys":
		a.keyRequests.Add(1)
		keys(channel)
	case path == "/entra/keys":
		a.keyRequests.Add(1)
		keys(entra)
	case strings.HasSuffix(path, "/.well-known/openid-configuration"):
		tenant, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		answer(map[string]any{"issuer": a.url + "/" + tenant + "/v2.0", "authorization_endpoint": a.url + "/authorize", "token_endpoint": a.url + "/" + tenant + "/oauth2/v2.0/token"})
	case strings.HasSuffix(path, "/oauth2/v2.0/token"):
		a.tokenRequests.Add(1)
		if noToken != nil {
			noToken(w, r)
			return
		}
		r.ParseForm()
		if r.Form.Get("client_secret") != password && r.Form.Get("client_assertion") == "" || r.Form.Get("scope") == "" {
			w.WriteHeader(http.StatusUnauthorized)
			answer(map[string]any{"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided: " + r.Form.Get("client_secret")})
			return
		}
		answer(map[string]any{"token_type": "Bearer", "expires_in": int(lifetime.Seconds()),
			"access_token": fmt.Sprintf("bot-token-%d-of-%s", a.issued.Add(1), strings.Split(path, "/")[1])})
	case strings.Contains(path, "/v3/conversations"):
		a.sends.Add(1)
		a.lastToken.Store(r.Header.Get("Authorization"))
		if onSend != nil {
			onSend(w, r)
			return
		}
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
		answer(map[string]any{"id": "r1"})
	default:
		http.NotFound(w, r)
	}
}

// set changes the authority while it serves.
func (a *authority) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

// RoundTrip serves a request without a network, so that it can be done in a
// bubble. A handler that panics with http.ErrAbortHandler loses the answer.
func (a *authority) RoundTrip(r *http.Request) (*http.Response, error) {
	done := make(chan *http.Response, 1)
	go func() {
		defer func() {
			if recover() != nil {
				done <- nil
			}
		}()
		w := httptest.NewRecorder()
		in := r.Clone(r.Context())
		if in.Body == nil {
			in.Body = http.NoBody
		}
		a.ServeHTTP(w, in)
		done <- w.Result()
	}()
	select {
	case resp := <-done:
		if resp == nil {
			return nil, io.ErrUnexpectedEOF
		}
		resp.Request = r
		return resp, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func (a *authority) cloud() connector.Cloud {
	return connector.Cloud{
		Login:          a.url,
		Tenant:         "botframework.test",
		Scope:          "https://api.botframework.test/.default",
		Issuer:         "https://api.botframework.test",
		Metadata:       a.url + "/channel/metadata",
		EntraIssuers:   []string{"https://sts.test/{tenant}/", "https://login.test/{tenant}/v2.0"},
		EntraMetadata:  a.url + "/entra/metadata",
		EmulatorTenant: "emulator-tenant",
	}
}

func (a *authority) app() *connector.App {
	return &connector.App{ID: appID, Type: connector.SingleTenant, TenantID: tenantID, Password: password, Cloud: a.cloud()}
}

// claims are those of a good token of the channel.
func (a *authority) claims() jwt.MapClaims {
	now := time.Now().Unix()
	return jwt.MapClaims{"iss": "https://api.botframework.test", "aud": appID, "serviceurl": a.url + "/teams", "nbf": now - 60, "exp": now + 3600}
}

// emulatorClaims are those of a good token of the Emulator.
func (a *authority) emulatorClaims() jwt.MapClaims {
	now := time.Now().Unix()
	return jwt.MapClaims{"iss": "https://sts.test/" + tenantID + "/", "aud": appID, "appid": appID, "ver": "1.0", "tid": tenantID, "nbf": now - 60, "exp": now + 3600}
}

func sign(claims jwt.Claims, s *signer) string {
	return signWith(claims, jwt.SigningMethodRS256, s.id, s.key)
}

func signWith(claims jwt.Claims, method jwt.SigningMethod, kid any, key any) string {
	t := jwt.NewWithClaims(method, claims)
	if kid != nil {
		t.Header["kid"] = kid
	}
	signed, err := t.SignedString(key)
	if err != nil {
		panic(err)
	}
	return signed
}

// with returns claims with some of them changed; nil takes one out.
func with(claims jwt.MapClaims, changes ...any) jwt.MapClaims {
	for i := 0; i < len(changes); i += 2 {
		if name := changes[i].(string); changes[i+1] == nil {
			delete(claims, name)
		} else {
			claims[name] = changes[i+1]
		}
	}
	return claims
}

// activity is a message that fits the claims.
func (a *authority) activity() string {
	return `{"type":"message","text":"the user's words","id":"m1","channelId":"msteams","serviceUrl":"` + a.url + `/teams","from":{"id":"u1"},"recipient":{"id":"bot"},"conversation":{"id":"a:1"}}`
}

// A door is a bot that echoes, behind credentials, with its log.
type door struct {
	*authority
	base    *connector.Adapter
	adapter *bot.Adapter
	handler http.Handler
	log     *syncBuffer
	turns   atomic.Int64
}

func newDoor(t testing.TB, a *authority, options connector.Options) *door {
	d := &door{authority: a, log: &syncBuffer{}}
	logger := slog.New(slog.NewTextHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if options.App == nil {
		options.App = a.app()
	}
	if options.Transport == nil {
		options.Transport = a
	}
	options.Logger = logger
	base, err := connector.New(&options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(base.Close)
	d.base = base
	d.adapter = bot.NewAdapter(base)
	d.adapter.Logger = logger
	t.Cleanup(func() { d.adapter.Close(context.Background()) })
	d.handler = d.adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
		d.turns.Add(1)
		_, err := turn.SendText(ctx, "echo")
		return err
	})
	return d
}

// post brings an activity, with the token if it is not empty.
func (d *door) post(token, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/api/messages", strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return d.serve(r)
}

func (d *door) serve(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	return w
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
