package cosmostest_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/azcosmos"

	"github.com/botlapse/botlapse/cosmos/cosmostest"
)

// A raw request is one that azcosmos would not send.
type raw struct {
	method, path string
	header       map[string]string // "" leaves one out
	body         string
}

// send signs and sends r in process.
func (r raw) send(t *testing.T, s *cosmostest.Server) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), r.method, s.Endpoint()+r.path, strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("x-ms-date", time.Now().UTC().Format(http.TimeFormat))
	request.Header.Set("x-ms-documentdb-partitionkey", `["a"]`)
	for name, value := range r.header {
		request.Header.Set(name, value)
	}
	if r.header["Authorization"] == "" {
		request.Header.Set("Authorization", sign(t, request, s.Key))
	}
	response, err := s.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// sign returns the signature of a request as the documentation has it.
func sign(t *testing.T, r *http.Request, key string) string {
	t.Helper()
	segments := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	resource, link := segments[len(segments)-1], strings.Join(segments[:len(segments)-1], "/")
	if len(segments)%2 == 0 {
		resource, link = segments[len(segments)-2], strings.Join(segments, "/")
	}
	date := strings.ToLower(r.Header.Get("x-ms-date")) + "\n" + strings.ToLower(r.Header.Get("Date")) + "\n"
	decoded, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, decoded)
	mac.Write([]byte(strings.ToLower(r.Method) + "\n" + resource + "\n" + link + "\n" + date))
	return url.QueryEscape("type=master&ver=1.0&sig=" + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

func TestSignatures(t *testing.T) {
	ago := func(d time.Duration) string { return time.Now().Add(-d).UTC().Format(http.TimeFormat) }
	for _, test := range []struct {
		name   string
		header map[string]string
		want   int
	}{
		{"a signature with the date in x-ms-date is accepted", nil, 200},
		{"a signature with the date in Date is accepted", map[string]string{"x-ms-date": "", "Date": ago(0)}, 200},
		{"a signature 14 minutes old is accepted", map[string]string{"x-ms-date": ago(14 * time.Minute)}, 200},
		{"a signature 16 minutes old is refused", map[string]string{"x-ms-date": ago(16 * time.Minute)}, 403},
		{"a signature 16 minutes ahead is refused", map[string]string{"x-ms-date": ago(-16 * time.Minute)}, 403},
		{"a signature of no date is refused", map[string]string{"x-ms-date": ""}, 401},
		{"a signature of something else is refused", map[string]string{"Authorization": "type%3Dmaster%26ver%3D1.0%26sig%3DAAAA"}, 401},
		{"a signature that is not base64 is refused", map[string]string{"Authorization": "type%3Dmaster%26ver%3D1.0%26sig%3D!"}, 401},
		{"an authorization of an unknown type is refused", map[string]string{"Authorization": "type%3Dresource%26ver%3D1.0%26sig%3DAAAA"}, 401},
		{"an authorization of an unknown version is refused", map[string]string{"Authorization": "type%3Dmaster%26ver%3D2.0%26sig%3DAAAA"}, 401},
		{"an authorization that makes no sense is refused", map[string]string{"Authorization": "%zz"}, 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			response, body := raw{method: "GET", path: "/dbs/db", header: test.header}.send(t, newServer(t, byID))
			if response.StatusCode != test.want {
				t.Errorf("status %d, want %d: %s", response.StatusCode, test.want, body)
			}
		})
	}
}

func TestWrongKey(t *testing.T) {
	s := newServer(t, byID)
	client := connectTo(t, s.Endpoint(), "d3Jvbmc=", policy.ClientOptions{Transport: s})
	_, err := items(t, client).ReadItem(t.Context(), pk("a"), "a", nil)
	wantStatus(t, err, 401)
}

// TestAdvanceKeepsSignaturesValid: the client knows nothing of the move.
func TestAdvanceKeepsSignaturesValid(t *testing.T) {
	s := newServer(t, byID)
	s.Advance(48 * time.Hour)
	_, err := items(t, connect(t, s)).ReadItem(t.Context(), pk("a"), "a", nil)
	wantStatus(t, err, 404)
}

type token string

func (t token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(t), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func TestRoles(t *testing.T) {
	ctx := t.Context()
	s := newServer(t, byID)
	s.Tokens = map[string]cosmostest.Role{
		"contributor": cosmostest.DataContributor,
		"reader":      cosmostest.DataReader,
		"blind":       cosmostest.ReadItems | cosmostest.WriteItems,
	}
	if _, err := items(t, connect(t, s)).CreateItem(ctx, pk("a"), []byte(`{"id":"a"}`), nil); err != nil {
		t.Fatal(err)
	}
	connect := func(who string) *azcosmos.Client {
		options := &azcosmos.ClientOptions{ClientOptions: policy.ClientOptions{Transport: s}}
		client, err := azcosmos.NewClient(s.Endpoint(), token(who), options)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		return client
	}
	read := func(client *azcosmos.Client) error {
		_, err := items(t, client).ReadItem(ctx, pk("a"), "a", nil)
		return err
	}
	upsert := func(client *azcosmos.Client) error {
		_, err := items(t, client).UpsertItem(ctx, pk("a"), []byte(`{"id":"a"}`), nil)
		return err
	}
	createDatabase := func(client *azcosmos.Client) error {
		_, err := client.CreateDatabase(ctx, azcosmos.DatabaseProperties{ID: "new"}, nil)
		return err
	}
	readContainer := func(client *azcosmos.Client) error {
		_, err := items(t, client).Read(ctx, nil)
		return err
	}
	replaceContainer := func(client *azcosmos.Client) error {
		_, err := items(t, client).Replace(ctx, azcosmos.ContainerProperties{ID: "items"}, nil)
		return err
	}
	deleteContainer := func(client *azcosmos.Client) error {
		_, err := items(t, client).Delete(ctx, nil)
		return err
	}
	for _, test := range []struct {
		name string
		who  string
		do   func(*azcosmos.Client) error
		want string
	}{
		{"a contributor reads items", "contributor", read, "0/"},
		{"a contributor writes items", "contributor", upsert, "0/"},
		{"a contributor reads the container's definition", "contributor", readContainer, "0/"},
		{"a contributor cannot create databases", "contributor", createDatabase, "403/5300"},
		{"a contributor cannot replace containers", "contributor", replaceContainer, "403/5300"},
		{"a contributor cannot delete containers", "contributor", deleteContainer, "403/5300"},
		{"a reader reads items", "reader", read, "0/"},
		{"a reader cannot write items", "reader", upsert, "403/5301"},
		{"who may not read metadata gets nowhere", "blind", read, "403/5301"},
		{"a stranger gets nowhere", "stranger", read, "401/"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.do(connect(test.who))
			if got := itoa(status(err)) + "/" + substatus(err); got != test.want {
				t.Errorf("status and substatus %s, want %s: %v", got, test.want, err)
			}
		})
	}
}
