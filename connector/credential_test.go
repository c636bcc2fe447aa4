package connector_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/connector"
)

func (a *authority) message() schema.Activity { return to(a.url + "/teams") }

// certificate returns a certificate with its key, in PEM.
func certificate(t *testing.T) []byte {
	key := rsaKeys()[0]
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bot"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
}

func TestEveryTypeOfAppGetsItsToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("federated"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AZURE_FEDERATED_TOKEN_FILE", file)
	for _, name := range []string{"IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_REGIONAL_AUTHORITY_NAME"} {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	a := newAuthority()
	for _, test := range []struct {
		name string
		app  connector.App
		want string
	}{
		{"multi-tenant with a secret", connector.App{Password: password}, "of-botframework.test"},
		{"multi-tenant with a secret, in a tenant", connector.App{Type: connector.MultiTenant, Password: password, TenantID: tenantID}, "of-botframework.test"},
		{"single-tenant with a secret", connector.App{Type: connector.SingleTenant, TenantID: tenantID, Password: password}, "of-" + tenantID},
		{"single-tenant with a certificate", connector.App{Type: connector.SingleTenant, TenantID: tenantID, Certificate: certificate(t)}, "of-" + tenantID},
		{"with a workload identity", connector.App{Type: connector.WorkloadIdentity, TenantID: tenantID}, "of-" + tenantID},
		{"with a managed identity", connector.App{Type: connector.UserAssignedMSI}, "of-managed-" + appID},
		{"with a credential of the author's", connector.App{Credential: credential("own-token")}, "own-token"},
	} {
		t.Run(test.name, func(t *testing.T) {
			app := test.app
			app.ID, app.Cloud = appID, a.cloud()
			base, err := connector.New(&connector.Options{App: &app, Transport: managed{a}})
			if err != nil {
				t.Fatal(err)
			}
			defer base.Close()
			if _, err := base.SendActivity(t.Context(), a.message()); err != nil {
				t.Fatal(err)
			}
			if got := a.lastToken.Load().(string); !strings.HasPrefix(got, "Bearer ") || !strings.HasSuffix(got, test.want) {
				t.Errorf("sent with %q, want one %s", got, test.want)
			}
		})
	}
}

// TestATokenOfAManagedIdentityIsReplacedToo: azidentity keeps these for the
// process.
func TestATokenOfAManagedIdentityIsReplacedToo(t *testing.T) {
	for _, name := range []string{"IDENTITY_ENDPOINT", "MSI_ENDPOINT"} {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	a := newAuthority()
	var seen []string
	a.onSend = func(w http.ResponseWriter, r *http.Request) {
		if seen = append(seen, r.Header.Get("Authorization")); len(seen) == 1 {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}
	app := &connector.App{ID: appID, Type: connector.UserAssignedMSI, Cloud: a.cloud()}
	base, err := connector.New(&connector.Options{App: app, Transport: managed{a}})
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	if _, err := base.SendActivity(t.Context(), a.message()); err != nil || len(seen) != 2 || seen[0] == seen[1] {
		t.Errorf("sent with %q: %v", seen, err)
	}
}

// TestReadyNeedsNoFetch once there are keys and a token.
func TestReadyNeedsNoFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		d := newDoor(t, a, connector.Options{})
		if err := d.base.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.set(func() { a.trouble = func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() } })
		before := a.metadataRequests.Load()
		for range 10 {
			time.Sleep(2 * time.Minute)
			begin := time.Now()
			if err := d.base.Ready(t.Context()); err != nil || time.Since(begin) != 0 {
				t.Errorf("after %v: %v", time.Since(begin), err)
			}
		}
		if n := a.metadataRequests.Load() - before; n != 0 {
			t.Errorf("%d fetches", n)
		}
	})
}

// TestAnUnknownKeyDoesNotHoldAPlaceForLong while the keys cannot be fetched.
func TestAnUnknownKeyDoesNotHoldAPlaceForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		d := newDoor(t, a, connector.Options{})
		d.post(sign(a.claims(), a.channel[0]), a.activity())
		time.Sleep(time.Hour)
		a.set(func() { a.trouble = func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() } })
		begin := time.Now()
		if w := d.post(sign(with(a.claims(), "exp", time.Now().Add(time.Hour).Unix()), &signer{id: "forged", key: rsaKeys()[3]}), a.activity()); w.Code != 401 || time.Since(begin) > 2*time.Second {
			t.Errorf("answer is %d after %v", w.Code, time.Since(begin))
		}
	})
}

func TestADeleteWhoseAnswerWasLostIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.onSend = func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader([]int{http.StatusGatewayTimeout, http.StatusNotFound}[min(a.sends.Load()-1, 1)])
		}
		d := newDoor(t, a, connector.Options{})
		ref := schema.ConversationReference{ServiceURL: a.url, Conversation: schema.ConversationAccount{ID: "c"}}
		if err := d.base.DeleteActivity(t.Context(), "m1", ref); err != nil {
			t.Error(err)
		}
		if err := d.base.DeleteActivity(t.Context(), "m1", ref); err == nil {
			t.Error("what was not there is deleted")
		}
	})
}

// managed is an authority beside the identity service of a virtual machine.
type managed struct{ *authority }

var managedTokens atomic.Int64

func (m managed) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != "169.254.169.254" {
		return m.authority.RoundTrip(r)
	}
	w := httptest.NewRecorder()
	fmt.Fprintf(w, `{"access_token":"%d-of-managed-%s","expires_in":"3600","resource":"r","token_type":"Bearer"}`, managedTokens.Add(1), r.URL.Query().Get("client_id"))
	return w.Result(), nil
}

type credential string

func (c credential) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(c), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func TestNewReportsAllThatIsWrong(t *testing.T) {
	for _, test := range []struct {
		name    string
		options connector.Options
		want    []string
	}{
		{"nothing set", connector.Options{App: &connector.App{}}, []string{"ID is missing", "Password or Certificate is missing: a bot of type MultiTenant"}},
		{"everything set", connector.Options{App: &connector.App{ID: "x", Password: "p", Certificate: []byte("garbage " + password)}, AllowUnauthenticated: true, OperationsPerHour: -1, AllowedHosts: []string{"a.test", "https://b.test", "*."}},
			[]string{"both Password and Certificate", "Certificate: must be a certificate", "AllowUnauthenticated is set", "OperationsPerHour is -1", `AllowedHosts has "https://b.test"`, `AllowedHosts has "*."`}},
		{"no tenant", connector.Options{App: &connector.App{ID: "x", Type: connector.SingleTenant, Password: "p"}}, []string{"TenantID is missing: a bot of type SingleTenant"}},
		{"no tenant for a workload", connector.Options{App: &connector.App{ID: "x", Type: connector.WorkloadIdentity}}, []string{"TenantID is missing: a bot of type WorkloadIdentity"}},
		{"a secret for a managed identity", connector.Options{App: &connector.App{ID: "x", Type: connector.UserAssignedMSI, Password: password}}, []string{"Password or Certificate is set: a bot of type UserAssignedMSI has none"}},
		{"a tenant that is none", connector.Options{App: &connector.App{ID: "x", Type: connector.SingleTenant, TenantID: "a b", Password: password}}, []string{"invalid tenant"}},
		{"a type that is none", connector.Options{App: &connector.App{ID: "x", Type: "ManagedTenant", Password: "p"}}, []string{`Type is "ManagedTenant"`}},
		{"half a cloud", connector.Options{App: &connector.App{ID: "x", Password: "p", Cloud: connector.Cloud{Login: "https://login.test"}}}, []string{"Cloud.Metadata", "Cloud.EntraMetadata"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := connector.New(&test.options)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the report lacks %q:\n%v", want, err)
				}
			}
			if lines := strings.Count(err.Error(), "\n") + 1; lines != len(test.want) || strings.Contains(err.Error(), password) {
				t.Errorf("the report has %d lines, want %d, without the secret:\n%v", lines, len(test.want), err)
			}
		})
	}
}

func TestCloudFor(t *testing.T) {
	for service, issuer := range map[string]string{
		"":                                 "https://api.botframework.com",
		"https://botframework.azure.us":    "https://api.botframework.us",
		"https://botframework.azure.us/":   "https://api.botframework.us",
		"https://BotFramework.azure.cn":    "https://api.botframework.azure.cn",
		"https://botframework.azure.other": "",
	} {
		if c, err := connector.CloudFor(service); c.Issuer != issuer || (err == nil) != (issuer != "") {
			t.Errorf("%s: issuer %q, error %v", service, c.Issuer, err)
		}
	}
}

func TestATokenIsRenewedBeforeItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		d := newDoor(t, a, connector.Options{})
		send := func(want string) {
			t.Helper()
			begin := time.Now()
			if _, err := d.base.SendActivity(t.Context(), a.message()); err != nil {
				t.Fatal(err)
			}
			if got := a.lastToken.Load(); got != "Bearer "+want+"-of-"+tenantID || time.Since(begin) != 0 {
				t.Errorf("sent with %v after %v, want %s", got, time.Since(begin), want)
			}
			synctest.Wait()
		}
		send("bot-token-1")
		time.Sleep(55*time.Minute - time.Nanosecond)
		send("bot-token-1")
		if n := a.tokenRequests.Load(); n != 1 {
			t.Errorf("%d requests for tokens", n)
		}
		time.Sleep(time.Nanosecond)
		send("bot-token-1") // and is renewed meanwhile
		send("bot-token-2")

		// While it cannot be renewed, the old one serves to its end.
		time.Sleep(56 * time.Minute)
		a.set(func() { a.noToken = func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(400) } })
		send("bot-token-2")
		time.Sleep(3*time.Minute + 40*time.Second)
		send("bot-token-2")
		time.Sleep(time.Minute)
		if _, err := d.base.SendActivity(t.Context(), a.message()); err == nil {
			t.Error("sent with a token that has ended")
		}
		a.set(func() { a.noToken = nil })
		time.Sleep(2 * time.Second)
		send("bot-token-3")
	})
}

func TestATokenThatTheChannelRefusesIsReplacedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		d := newDoor(t, a, connector.Options{})
		good := "Bearer bot-token-2-of-" + tenantID
		a.onSend = func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != good {
				w.WriteHeader(http.StatusUnauthorized)
			}
		}
		if _, err := d.base.SendActivity(t.Context(), a.message()); err != nil || a.sends.Load() != 2 || a.tokenRequests.Load() != 2 {
			t.Errorf("%d sends with %d tokens: %v", a.sends.Load(), a.tokenRequests.Load(), err)
		}
		a.set(func() { good = "none" })
		time.Sleep(time.Minute)
		before := a.tokenRequests.Load()
		var refused *connector.SendError
		if _, err := d.base.SendActivity(t.Context(), a.message()); !errors.As(err, &refused) || refused.Status != 401 || a.sends.Load() != 4 {
			t.Errorf("%d sends: %v", a.sends.Load(), err)
		}
		for range 100 {
			d.base.SendActivity(t.Context(), a.message())
		}
		if n := a.tokenRequests.Load() - before; n != 1 {
			t.Errorf("101 sends that were refused asked for %d tokens", n)
		}
	})
}

func TestNoTokenIsAnErrorOfTheSend(t *testing.T) {
	for _, test := range []struct {
		name    string
		noToken http.HandlerFunc
		secret  string
		want    string
		takes   time.Duration
	}{
		{"a wrong secret", nil, "wrong~" + password, "connector: no token: status 401 AADSTS7000215", 0},
		{"an answer without a code, that repeats the request", func(w http.ResponseWriter, r *http.Request) {
			r.ParseForm()
			w.WriteHeader(400)
			io.WriteString(w, `{"error":"invalid_request","error_description":"you sent `+r.Form.Encode()+`"}`)
		}, password, "connector: no token: status 400", 0},
		{"an endpoint that cannot be reached", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, password, `connector: no token: Post "https://authority.test/`, 10 * time.Second},
		{"garbage", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") }, password, "connector: no token", 0},
		{"an endpoint that hangs", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, password, `connector: no token: Post "https://authority.test/`, 31 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority()
				a.noToken = test.noToken
				app := a.app()
				app.Password = test.secret
				d := newDoor(t, a, connector.Options{App: app})
				begin := time.Now()
				_, err := d.base.SendActivity(t.Context(), a.message())
				var failed *connector.TokenError
				if !errors.As(err, &failed) || !strings.HasPrefix(err.Error(), test.want) || time.Since(begin) > test.takes {
					t.Errorf("error is %v after %v, want %s", err, time.Since(begin), test.want)
				}
				if w := d.post(sign(a.claims(), a.channel[0]), a.activity()); w.Code != 500 {
					t.Errorf("answer is %d", w.Code)
				}
				for _, text := range []string{err.Error(), d.log.String()} {
					if strings.Contains(text, password) {
						t.Errorf("the secret is in %s", text)
					}
				}
				if a.sends.Load() != 0 {
					t.Error("it was sent")
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				time.Sleep(2 * time.Second) // ctx ends before
				if _, err := d.base.SendActivity(ctx, a.message()); err == nil {
					t.Error("no error")
				}
			})
		})
	}
}

// TestAddressesThatAreNotPublicAreRefused lets names and addresses be dialled
// that lead to networks of somebody's own.
func TestAddressesThatAreNotPublicAreRefused(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	connected := make(chan struct{}, 1)
	go func() {
		if c, err := listener.Accept(); err == nil {
			c.Close()
			connected <- struct{}{}
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	base, err := connector.New(&connector.Options{App: &connector.App{ID: appID, Credential: credential("secret")}})
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	for _, host := range []string{"localhost", "127.0.0.1", "127.8.9.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "10.1.2.3", "172.16.0.1", "192.168.0.1",
		"169.254.169.254", "168.63.129.16", "100.64.0.1", "[fe80::1]", "[fd00:ec2::254]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "224.0.0.1", "255.255.255.255"} {
		_, err := base.SendActivity(t.Context(), to("https://"+host+":"+port+"/"))
		if !errors.Is(err, connector.ErrNotAllowed) {
			t.Errorf("%s: %v", host, err)
		}
	}
	select {
	case <-connected:
		t.Error("a connection was made")
	default:
	}
}

func TestOnlyAllowedHostsAreSentTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, newAuthority(), connector.Options{AllowedHosts: []string{"smba.test", "*.botframework.test"}})
		for host, allowed := range map[string]bool{
			"smba.test": true, "SMBA.test": true, "smba.test:444": true, "x.smba.test": false, "smba.test.evil.test": false,
			"a.botframework.test": true, "b.a.BotFramework.test": true, "botframework.test": false, "evilbotframework.test": false, "smba.test@evil.test": false,
		} {
			_, err := d.base.SendActivity(t.Context(), to("https://"+host+"/"))
			if (err == nil) != allowed || !allowed && !errors.Is(err, connector.ErrNotAllowed) {
				t.Errorf("%s: %v", host, err)
			}
		}
	})
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.onSend = func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, a.url+"/evil/v3/conversations/x", http.StatusTemporaryRedirect)
		}
		d := newDoor(t, a, connector.Options{})
		var refused *connector.SendError
		if _, err := d.base.SendActivity(t.Context(), a.message()); !errors.As(err, &refused) || refused.Status != 307 || a.sends.Load() != 1 {
			t.Errorf("%d sends: %v", a.sends.Load(), err)
		}
	})
}

func TestALostAnswerIsRepeatedOnlyIfToldSo(t *testing.T) {
	for repeat, sends := range map[bool]int64{false: 1, true: 2} {
		synctest.Test(t, func(t *testing.T) {
			a := newAuthority()
			a.onSend = func(http.ResponseWriter, *http.Request) {
				if a.sends.Load() == 1 {
					panic(http.ErrAbortHandler)
				}
			}
			d := newDoor(t, a, connector.Options{RepeatLost: repeat})
			if _, err := d.base.SendActivity(t.Context(), a.message()); (err == nil) != repeat || a.sends.Load() != sends {
				t.Errorf("repeat %v: %d sends: %v", repeat, a.sends.Load(), err)
			}
		})
	}
}

func TestAnErrorSaysWhetherItIsPermanent(t *testing.T) {
	for status, permanent := range map[int]bool{400: true, 401: false, 403: true, 404: true, 413: true, 429: false, 500: false} {
		if got := (&connector.SendError{Method: "POST", Status: status}).Permanent(); got != permanent {
			t.Errorf("%d: %v", status, got)
		}
	}
}

// TestThePaceOfAConversationIsKept sends as fast as it may, and counts the
// requests of every hour.
func TestThePaceOfAConversationIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		d := newDoor(t, a, connector.Options{OperationsPerHour: 1800})
		var times []time.Time
		begin := time.Now()
		for time.Since(begin) < 3*time.Hour {
			if _, err := d.base.SendActivity(t.Context(), a.message()); err != nil {
				t.Fatal(err)
			}
			times = append(times, time.Now())
		}
		most, from := 0, 0
		for i, at := range times {
			for at.Sub(times[from]) >= time.Hour {
				from++
			}
			most = max(most, i-from+1)
		}
		if most > 1800 || most < 1500 || times[299] != begin {
			t.Errorf("%d in an hour; the 300th after %v", most, times[299].Sub(begin))
		}
		other := a.message()
		other.Conversation.ID = "another"
		now := time.Now()
		if _, err := d.base.SendActivity(t.Context(), other); err != nil || time.Since(now) != 0 {
			t.Errorf("another conversation waits for %v: %v", time.Since(now), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := d.base.SendActivity(ctx, a.message()); err == nil || time.Since(now) != 0 {
			t.Errorf("it waits beyond its deadline, for %v: %v", time.Since(now), err)
		}
	})
}

func TestMembersAndNewConversations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		var requests []string
		a.onSend = func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			requests = append(requests, r.Method+" "+r.URL.EscapedPath()+" "+string(body))
			if r.Method == http.MethodGet {
				io.WriteString(w, `[{"id":"u1","name":"Ada","aadObjectId":"x"},{"id":"u2"}]`)
				return
			}
			w.WriteHeader(http.StatusCreated)
			io.WriteString(w, `{"id":"a:new","activityId":"m1","serviceUrl":"https://authority.test/teams"}`)
		}
		d := newDoor(t, a, connector.Options{})
		ref := schema.ConversationReference{ServiceURL: a.url + "/teams", Conversation: schema.ConversationAccount{ID: "a:1/2"}}
		members, err := d.base.GetConversationMembers(t.Context(), ref)
		if err != nil || len(members) != 2 || members[0].Name != "Ada" || members[1].ID != "u2" {
			t.Errorf("members are %+v: %v", members, err)
		}
		created, err := d.base.CreateConversation(t.Context(), a.url+"/teams", schema.ConversationParameters{
			Bot: schema.ChannelAccount{ID: "bot"}, Members: []schema.ChannelAccount{{ID: "u1"}}, TenantID: tenantID,
			Activity: schema.Activity{Type: schema.Message, Text: "Hello"}, ChannelData: map[string]any{"tenant": map[string]any{"id": tenantID}},
		})
		if err != nil || created.ID != "a:new" {
			t.Errorf("created %+v: %v", created, err)
		}
		if _, err := d.base.SendActivity(t.Context(), schema.Activity{Type: schema.Typing, ServiceURL: a.url + "/teams", Conversation: ref.Conversation}); err != nil {
			t.Error(err)
		}
		want := []string{
			"GET /teams/v3/conversations/a:1%2F2/members ",
			`POST /teams/v3/conversations {"isGroup":false,"bot":{"id":"bot"},"members":[{"id":"u1"}],"tenantId":"` + tenantID + `","activity":{"type":"message","text":"Hello"},"channelData":{"tenant":{"id":"` + tenantID + `"}}}`,
			`POST /teams/v3/conversations/a:1%2F2/activities {"type":"typing","conversation":{"id":"a:1/2"},"serviceUrl":"https://authority.test/teams"}`,
		}
		for i, w := range want {
			if i >= len(requests) || !sameRequest(requests[i], w) {
				t.Errorf("request %d is\n%s, want\n%s", i, requests[i], w)
			}
		}

		a.onSend = func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"error":{}}`) }
		if _, err := d.base.GetConversationMembers(t.Context(), ref); err == nil {
			t.Error("an answer that is no list is no error")
		}
		if _, err := d.base.CreateConversation(t.Context(), a.url, schema.ConversationParameters{}); err == nil {
			t.Error("an answer without a conversation is no error")
		}
		if _, err := d.base.GetConversationMembers(t.Context(), schema.ConversationReference{ServiceURL: a.url}); err == nil {
			t.Error("no conversation is no error")
		}
	})
}

// sameRequest compares requests; the order of a body's fields is of no account.
func sameRequest(got, want string) bool {
	g, w := strings.SplitN(got, " ", 3), strings.SplitN(want, " ", 3)
	var a, b map[string]any
	json.Unmarshal([]byte(g[2]), &a)
	json.Unmarshal([]byte(w[2]), &b)
	return g[0] == w[0] && g[1] == w[1] && fmt.Sprint(a) == fmt.Sprint(b)
}

// TestTurnsInParallelWhileTokensEndAndKeysRotate is for the race detector too.
func TestTurnsInParallelWhileTokensEndAndKeysRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.lifetime = 6 * time.Minute // of which 1 is before the renewal
		d := newDoor(t, a, connector.Options{})
		keys := rsaKeys()
		signers := [2]*signer{{id: "c1", key: keys[0], endorsements: []string{"msteams"}}, {id: "c2", key: keys[1], endorsements: []string{"msteams"}}}
		tokens := [2]string{}
		for i, s := range signers {
			tokens[i] = sign(with(a.claims(), "exp", time.Now().Add(time.Hour).Unix()), s)
		}
		codes := make(map[int]int)
		var mu sync.Mutex
		var turns sync.WaitGroup
		for i := range 1000 {
			turns.Go(func() {
				for round := range 4 {
					time.Sleep(time.Duration(i%100) * 5 * time.Second)
					body := strings.Replace(a.activity(), `"m1"`, fmt.Sprintf(`"m%d.%d"`, i, round), 1)
					w := d.post(tokens[(i+round)%2], strings.Replace(body, "a:1", fmt.Sprint("a:", i), 1))
					mu.Lock()
					codes[w.Code]++
					mu.Unlock()
				}
			})
		}
		stop := make(chan struct{})
		go func() {
			for i := 0; ; i++ {
				a.set(func() { a.channel = slices.Clone(signers[:1+i%2]) })
				select {
				case <-stop:
					return
				case <-time.After(3 * time.Minute):
				}
			}
		}()
		turns.Wait()
		close(stop)
		if others := codes[401]; codes[200]+others != 4000 || codes[200] < 2000 {
			t.Errorf("answers are %v, log:\n%.2000s", codes, d.log)
		}
	})
}

// TestNoSecretIsToldOrLogged has turns fail in every way, at debug level.
func TestNoSecretIsToldOrLogged(t *testing.T) {
	echo := func(status int) http.HandlerFunc { // of all that it was told
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": r.Header.Get("Authorization"), "message": string(body)}, "error_description": string(body)})
		}
	}
	synctest.Test(t, func(t *testing.T) {
		var told strings.Builder
		var logs []*syncBuffer
		run := func(a *authority, token, body string) {
			d := newDoor(t, a, connector.Options{MaxAttempts: 2})
			told.WriteString(fmt.Sprint(d.post(token, body)))
			if err := d.base.Ready(t.Context()); err != nil {
				told.WriteString(err.Error())
			}
			_, err := d.base.SendActivity(t.Context(), a.message())
			told.WriteString(fmt.Sprint(err))
			logs = append(logs, d.log)
		}
		for _, status := range []int{200, 302, 400, 401, 403, 404, 412, 429, 500, 503} {
			for _, where := range []func(*authority){
				func(a *authority) { a.onSend = echo(status) },
				func(a *authority) { a.noToken = echo(status) },
				func(a *authority) { a.trouble = echo(status) },
			} {
				a := newAuthority()
				where(a)
				run(a, sign(a.claims(), a.channel[0]), a.activity())
			}
		}
		secrets := []string{password, "bot-token-"}
		for _, h := range hostiles() {
			a := newAuthority()
			token, body := sign(a.claims(), a.channel[0]), a.activity()
			if h.token != nil {
				token = h.token(a)
			}
			if h.body != nil {
				body = h.body(a)
			}
			if i := strings.LastIndexByte(token, '.'); len(token)-i > 20 {
				secrets = append(secrets, token[i+1:])
			}
			run(a, token, body)
		}
		all := told.String()
		for _, log := range logs {
			all += log.String()
		}
		for _, secret := range append(secrets, "the user's words") {
			if i := strings.Index(all, secret); i >= 0 {
				t.Errorf("%.30s… is in …%s", secret, all[max(i-200, 0):min(i+50, len(all))])
			}
		}
	})
}

func TestManyMembersAreRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		many := make([]schema.ChannelAccount, 5000)
		for i := range many {
			many[i] = schema.ChannelAccount{ID: fmt.Sprint("29:", i), Name: strings.Repeat("name ", 10)}
		}
		a.onSend = func(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(many) }
		d := newDoor(t, a, connector.Options{})
		members, err := d.base.GetConversationMembers(t.Context(), schema.ConversationReference{ServiceURL: a.url, Conversation: schema.ConversationAccount{ID: "c"}})
		if err != nil || len(members) != len(many) {
			t.Errorf("%d members: %v", len(members), err)
		}
	})
}

func TestRequestsThatWerePassedOnAreNotLocal(t *testing.T) {
	base := newAdapter(t, connector.Options{})
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP"} {
		r := httptest.NewRequest(http.MethodPost, "http://localhost:3978/", strings.NewReader(`{"type":"message"}`))
		r.RemoteAddr = "127.0.0.1:1234"
		if _, err := base.ParseRequest(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		r.Body = io.NopCloser(strings.NewReader(`{"type":"message"}`))
		r.Header.Set(name, "203.0.113.9")
		var refused *connector.RequestError
		if _, err := base.ParseRequest(t.Context(), r); !errors.As(err, &refused) || refused.Status != http.StatusForbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAFailedHandshakeIsRepeated: nothing was sent.
func TestAFailedHandshakeIsRepeated(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	attempts := make(chan int, 1)
	go func() {
		n := 0
		for {
			c, err := listener.Accept()
			if err != nil {
				attempts <- n
				return
			}
			n++
			c.Close()
		}
	}()
	base := newAdapter(t, connector.Options{MaxAttempts: 2})
	if _, err := base.SendActivity(t.Context(), to("https://"+listener.Addr().String())); err == nil {
		t.Error("no error")
	}
	listener.Close()
	if n := <-attempts; n != 2 {
		t.Errorf("%d attempts", n)
	}
}

// TestACredentialThatPanicsIsAnErrorOfTheSend and no end of the process.
func TestACredentialThatPanicsIsAnErrorOfTheSend(t *testing.T) {
	base, err := connector.New(&connector.Options{App: &connector.App{ID: appID, Credential: panicking{}}})
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	var failed *connector.TokenError
	if _, err := base.SendActivity(t.Context(), to("https://channel.test/")); !errors.As(err, &failed) || strings.Contains(err.Error(), "swordfish") {
		t.Errorf("error is %v", err)
	}
}

type panicking struct{}

func (panicking) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	panic("swordfish")
}
