package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	testApp    = "11111111-aaaa-4bbb-8ccc-222222222222"
	testTenant = "33333333-aaaa-4bbb-8ccc-444444444444"
)

// A cloud is the parts of the public cloud that a bot talks to.
type cloud struct {
	key     *rsa.PrivateKey
	down    atomic.Bool
	hold    chan struct{} // sends wait until it is closed; nil for none
	sending chan struct{}
	sends   atomic.Int64
}

func newCloud(t *testing.T) *cloud {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &cloud{key: key, sending: make(chan struct{}, 100)}
}

func (c *cloud) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	at := r.URL.Host + r.URL.Path
	switch {
	case c.down.Load():
		return nil, io.ErrUnexpectedEOF
	case at == "login.botframework.com/v1/.well-known/openidconfiguration":
		io.WriteString(w, `{"jwks_uri":"https://login.botframework.com/v1/.well-known/keys"}`)
	case at == "login.botframework.com/v1/.well-known/keys":
		fmt.Fprintf(w, `{"keys":[{"kty":"RSA","kid":"k","n":%q,"e":"AQAB","endorsements":["msteams"]}]}`, base64.RawURLEncoding.EncodeToString(c.key.N.Bytes()))
	case at == "login.microsoftonline.com/"+testTenant+"/v2.0/.well-known/openid-configuration":
		base := "https://login.microsoftonline.com/" + testTenant
		fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":%q,"token_endpoint":%q}`, base+"/v2.0", base+"/authorize", base+"/oauth2/v2.0/token")
	case at == "login.microsoftonline.com/"+testTenant+"/oauth2/v2.0/token":
		io.WriteString(w, `{"token_type":"Bearer","expires_in":3600,"access_token":"bot-token"}`)
	case strings.HasPrefix(at, "smba.test/teams/v3/conversations/") && r.Header.Get("Authorization") == "Bearer bot-token":
		c.sends.Add(1)
		c.sending <- struct{}{}
		if c.hold != nil {
			<-c.hold
		}
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"id":"r1"}`)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

func (c *cloud) token() string {
	now := time.Now().Unix()
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"iss": "https://api.botframework.com", "aud": testApp, "serviceurl": "https://smba.test/teams", "exp": now + 600})
	t.Header["kid"] = "k"
	signed, err := t.SignedString(c.key)
	if err != nil {
		panic(err)
	}
	return signed
}

var credentials = map[string]string{"MicrosoftAppId": testApp, "MicrosoftAppType": "SingleTenant", "MicrosoftAppTenantId": testTenant, "MicrosoftAppPassword": "swordfish", "LOG_LEVEL": "debug"}

func and(set map[string]string, more ...string) map[string]string {
	all := make(map[string]string)
	for name, value := range set {
		all[name] = value
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

func message(id string) string {
	return fmt.Sprintf(`{"type":"message","id":%q,"text":"hi","channelId":"msteams","serviceUrl":"https://smba.test/teams","conversation":{"id":%q},"from":{"id":"u1"},"recipient":{"id":"bot"}}`, id, "of "+id)
}

// get returns the status and the body of an answer.
func ask(t *testing.T, client *http.Client, method, url, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

func TestServeWithCredentials(t *testing.T) {
	c := newCloud(t)
	s := startWith(t, credentials, c)
	base := strings.TrimSuffix(s.url, "/api/messages")
	if code, body := ask(t, http.DefaultClient, "POST", s.url, c.token(), message("m1")); code != 200 || c.sends.Load() != 1 {
		t.Errorf("a message is answered with %d %s", code, body)
	}
	if code, body := ask(t, http.DefaultClient, "POST", s.url, "", message("m2")); code != 401 || body != "not authentic\n" {
		t.Errorf("without a token: %d %s", code, body)
	}
	if code, body := ask(t, http.DefaultClient, "POST", s.url, c.token(), strings.Replace(message("m3"), "smba", "evil", 1)); code != 403 || body != "not for this bot\n" {
		t.Errorf("for another serviceUrl: %d %s", code, body)
	}
	if code, body := ask(t, http.DefaultClient, "GET", base+"/readyz", "", ""); code != 200 || body != "ready\n" {
		t.Errorf("readyz: %d %s", code, body)
	}
	http.DefaultClient.CloseIdleConnections()
	s.wait(t)
	for _, secret := range []string{"swordfish", "bot-token", c.token()[100:200]} {
		if strings.Contains(s.logs.String(), secret) {
			t.Errorf("%q is in the logs:\n%s", secret, s.logs)
		}
	}
}

// TestD3APlantedServiceURLIsNotSentTheToken has somebody plant a serviceUrl while
// the bot lets in anybody, and gives the bot credentials then.
func TestD3APlantedServiceURLIsNotSentTheToken(t *testing.T) {
	c := newCloud(t)
	var planted atomic.Int64
	network := transport(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != "planted.test" {
			return c.RoundTrip(r)
		}
		planted.Add(1)
		return &http.Response{StatusCode: http.StatusCreated, Body: io.NopCloser(strings.NewReader(`{"id":"r1"}`)), Request: r}, nil
	})
	set := map[string]string{"STATE_FILE": filepath.Join(t.TempDir(), "state.db"), "ExpireAfterSeconds": "1", "ExpireProactiveMessage": "Goodbye."}
	s := startWith(t, and(set, "ALLOW_UNAUTHENTICATED", "true"), network)
	if code, body := ask(t, http.DefaultClient, "POST", s.url, "", strings.Replace(message("m1"), "smba.test", "planted.test", 1)); code != 200 || planted.Load() != 1 {
		t.Fatalf("answer is %d %s", code, body)
	}
	s.wait(t)
	s = startWith(t, and(set, "MicrosoftAppId", testApp, "MicrosoftAppType", "SingleTenant", "MicrosoftAppTenantId", testTenant, "MicrosoftAppPassword", "swordfish"), network)
	for range 100_000 {
		if strings.Contains(s.logs.String(), "a deadline is parked") {
			break
		}
		ask(t, http.DefaultClient, "GET", strings.TrimSuffix(s.url, "/api/messages")+"/healthz", "", "")
	}
	http.DefaultClient.CloseIdleConnections()
	s.wait(t)
	if n := planted.Load(); n != 1 {
		t.Errorf("%d requests were made to the planted serviceUrl, want one, before there were credentials", n)
	}
	for _, want := range []string{"nothing will be sent to them\" deadlines=1", "a deadline is parked", "did not come with a token of this app"} {
		if logs := s.logs.String(); !strings.Contains(logs, want) {
			t.Errorf("logged was\n%s, want %q", logs, want)
		}
	}
}

// A transport is a function that makes requests.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestServeIsNotReadyWithoutKeysAndToken(t *testing.T) {
	c := newCloud(t)
	c.down.Store(true)
	s := startWith(t, credentials, c)
	base := strings.TrimSuffix(s.url, "/api/messages")
	if code, body := ask(t, http.DefaultClient, "GET", base+"/readyz", "", ""); code != 503 || body != "not ready\n" {
		t.Errorf("readyz: %d %s", code, body)
	}
	if code, _ := ask(t, http.DefaultClient, "GET", base+"/healthz", "", ""); code != 200 {
		t.Errorf("healthz: %d", code)
	}
	if code, _ := ask(t, http.DefaultClient, "POST", s.url, c.token(), message("m1")); code != 503 {
		t.Errorf("a message is answered with %d", code)
	}
	http.DefaultClient.CloseIdleConnections()
	s.wait(t)
}

func TestServeTurnsAwayWhatIsTooMuch(t *testing.T) {
	c := newCloud(t)
	c.hold = make(chan struct{})
	s := startWith(t, and(credentials, "MAX_TURNS", "2"), c)
	codes := make(chan int)
	for i := range 2 {
		go func() {
			code, _ := ask(t, http.DefaultClient, "POST", s.url, c.token(), message(fmt.Sprint("m", i)))
			codes <- code
		}()
		<-c.sending
	}
	begin := time.Now()
	if code, body := ask(t, http.DefaultClient, "POST", s.url, c.token(), message("m3")); code != 503 || body != "busy\n" || time.Since(begin) > 5*time.Second {
		t.Errorf("the third: %d %s", code, body)
	}
	close(c.hold)
	for range 2 {
		if code := <-codes; code != 200 {
			t.Errorf("answer is %d", code)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	s.wait(t)
}

func TestServeSpeaksHTTPS(t *testing.T) {
	certFile, keyFile, pool := selfSigned(t)
	c := newCloud(t)
	s := startWith(t, and(credentials, "TLS_CERT_FILE", certFile, "TLS_KEY_FILE", keyFile), c)
	if !strings.HasPrefix(s.url, "https://127.0.0.1:") {
		t.Fatalf("it listens on %s", s.url)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	if code, body := ask(t, client, "POST", s.url, c.token(), message("m1")); code != 200 {
		t.Errorf("a message is answered with %d %s", code, body)
	}
	client.CloseIdleConnections()
	s.wait(t)
}

func selfSigned(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, data []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", pkcs8), pool
}

// TestServeOutlivesHostileConnections writes bytes that no client would.
func TestServeOutlivesHostileConnections(t *testing.T) {
	c := newCloud(t)
	s := startWith(t, credentials, c)
	address := strings.TrimSuffix(strings.TrimPrefix(s.url, "http://"), "/api/messages")
	head := "POST /api/messages HTTP/1.1\r\nHost: bot\r\nContent-Type: application/json\r\n"
	bearer := "Authorization: Bearer " + c.token() + "\r\n"
	for _, test := range []struct {
		name string
		send string
		more string // sent again and again, until the server has enough
		half bool   // nothing follows, and the server is told
		want string // how the answer begins; "" for a closed connection
	}{
		{"a header of 1 MiB", head + "X: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", "", false, "HTTP/1.1 431"},
		{"an endless header", head, "X: a\r\n", false, "HTTP/1.1 431"},
		{"a token of 60 KiB", head + "Authorization: Bearer " + strings.Repeat("a", 60<<10) + "\r\nContent-Length: 2\r\n\r\n{}", "", false, "HTTP/1.1 401"},
		{"a header with NUL bytes", head + "Authorization: Bearer a\x00b\r\n\r\n", "", false, "HTTP/1.1 400"},
		{"two lengths", head + bearer + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "", false, "HTTP/1.1 400"},
		{"a length that is negative", head + bearer + "Content-Length: -1\r\n\r\n", "", false, "HTTP/1.1 400"},
		{"another transfer encoding", head + bearer + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "", false, "HTTP/1.1 501"},
		{"a body of 10 GiB announced, without a token", head + "Content-Length: 10737418240\r\n\r\n{", "", false, "HTTP/1.1 401"},
		{"a body of 10 GiB announced", head + bearer + "Content-Length: 10737418240\r\n\r\n", strings.Repeat("a", 4096), false, "HTTP/1.1 413"},
		{"an endless body in chunks", head + bearer + "Transfer-Encoding: chunked\r\n\r\n", "4\r\nabcd\r\n", false, "HTTP/1.1 413"},
		{"chunks that are none", head + bearer + "Transfer-Encoding: chunked\r\n\r\nhello\r\n", "", false, "HTTP/1.1 400"},
		{"a truncated body", head + bearer + "Content-Length: 1000\r\n\r\n" + `{"type":`, "", true, "HTTP/1.1 400"},
		{"a body in another encoding", head + bearer + "Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00", "", false, "HTTP/1.1 400"},
		{"no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "", true, ""},
		{"a request for a proxy", "CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test\r\n\r\n", "", false, "HTTP/1.1 4"},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			go func() {
				_, err := io.WriteString(conn, test.send)
				for test.more != "" && err == nil {
					_, err = io.WriteString(conn, test.more)
				}
				if test.half {
					conn.(*net.TCPConn).CloseWrite()
				}
			}()
			line, err := bufio.NewReader(conn).ReadString('\n')
			if test.want != "" && !strings.HasPrefix(line, test.want) {
				t.Errorf("the answer is %q (%v), want %s", line, err, test.want)
			}
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
				t.Error("the connection stays open")
			}
		})
	}
	if code, body := ask(t, http.DefaultClient, "POST", s.url, c.token(), message("m1")); code != 200 {
		t.Errorf("after it all, a message is answered with %d %s", code, body)
	}
	http.DefaultClient.CloseIdleConnections()
	s.wait(t)
	if logs := s.logs.String(); strings.Contains(logs, "panic") || bytes.Contains([]byte(logs), []byte("goroutine ")) {
		t.Errorf("logs are\n%s", logs)
	}
}

func TestCredentialsThatDoNotFitAreReportedAtOnce(t *testing.T) {
	for _, test := range []struct {
		name string
		set  map[string]string
		want []string
	}{
		{"a secret without an app", map[string]string{"MicrosoftAppPassword": "swordfish"}, []string{"MicrosoftAppId is empty"}},
		{"an app without a secret", map[string]string{"MicrosoftAppId": testApp}, []string{"MicrosoftAppPassword and MicrosoftAppCertificateFile are empty"}},
		{"everything wrong", map[string]string{"MicrosoftAppId": testApp, "MicrosoftAppType": "SingleTenant", "MicrosoftAppPassword": "swordfish", "MicrosoftAppCertificateFile": "no/such/file",
			"ALLOW_UNAUTHENTICATED": "true", "TLS_CERT_FILE": "cert.pem", "ChannelService": "https://example.test", "ALLOWED_HOSTS": "https://a.test", "MAX_TURNS": "0", "OPERATIONS_PER_HOUR": "many"},
			[]string{`ChannelService is "https://example.test"`, `ALLOWED_HOSTS is "https://a.test"`, `OPERATIONS_PER_HOUR is "many"`, `MAX_TURNS is "0"`, "are both set", "MicrosoftAppTenantId is empty",
				`MicrosoftAppCertificateFile is "no/such/file"`, "ALLOW_UNAUTHENTICATED is", "one of TLS_CERT_FILE and TLS_KEY_FILE is empty"}},
		{"a secret for a managed identity", map[string]string{"MicrosoftAppId": testApp, "MicrosoftAppType": "UserAssignedMSI", "MicrosoftAppPassword": "swordfish"}, []string{`MicrosoftAppType is "UserAssignedMSI": MicrosoftAppPassword`}},
		{"a type that is none", map[string]string{"MicrosoftAppId": testApp, "MicrosoftAppType": "Multi", "MicrosoftAppPassword": "swordfish"}, []string{`MicrosoftAppType is "Multi"`}},
		{"certificates that are none", map[string]string{"TLS_CERT_FILE": "no/cert", "TLS_KEY_FILE": "no/key"}, []string{`TLS_CERT_FILE is "no/cert"`}},
		{"an app certificate that is none", map[string]string{"MicrosoftAppId": testApp, "MicrosoftAppCertificateFile": "main.go"}, []string{"Certificate: must be a certificate"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stderr bytes.Buffer
			p := &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: &stderr, lookup: environment(and(test.set, "PORT", "0")), envFile: "no such file"}
			if code := p.run(t.Context(), []string{"serve"}); code != 1 {
				t.Errorf("exit status is %d", code)
			}
			report := stderr.String()
			for _, want := range test.want {
				if !strings.Contains(report, want) {
					t.Errorf("the report lacks %q:\n%s", want, report)
				}
			}
			if n := strings.Count(report, "\n"); n != len(test.want) || strings.Contains(report, "swordfish") {
				t.Errorf("the report has %d lines, want %d, without the secret:\n%s", n, len(test.want), report)
			}
		})
	}
}
