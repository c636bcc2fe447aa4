package connector

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// The types of an [App]. The names are those of the official SDKs and of the
// Azure portal.
const (
	MultiTenant      = "MultiTenant"
	SingleTenant     = "SingleTenant"
	UserAssignedMSI  = "UserAssignedMSI"
	WorkloadIdentity = "WorkloadIdentity"
)

// An App is a bot's registration in Azure: who it is, and how it proves that.
type App struct {
	// ID is the app id, a UUID. It is the audience of the tokens that channels
	// bring.
	ID string

	// Type is how the bot gets the tokens that it needs to send:
	//
	//   - MultiTenant, the default for "", and SingleTenant: from Entra ID, with
	//     Password or Certificate;
	//   - UserAssignedMSI: from the managed identity of the machine, whose
	//     client id is ID;
	//   - WorkloadIdentity: from Entra ID, with the token that Kubernetes keeps
	//     in the file that AZURE_FEDERATED_TOKEN_FILE names.
	Type string

	// TenantID is the bot's own tenant. SingleTenant and WorkloadIdentity need
	// it. Of UserAssignedMSI it is the tenant whose tokens are accepted.
	TenantID string

	// Password is the client secret.
	Password string

	// Certificate is a certificate with its private key, in PEM or, without
	// a password, in PKCS #12.
	Certificate []byte

	// Cloud is where the bot lives. The default, for the zero Cloud, is
	// [PublicCloud].
	Cloud Cloud

	// Credential, if not nil, gets the tokens instead of what Type says.
	Credential azcore.TokenCredential
}

// check returns everything that is wrong with an app.
func (a *App) check() error {
	var problems []error
	problem := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("connector: app: "+format, args...))
	}
	if a.ID == "" {
		problem("ID is missing")
	}
	if a.Cloud.Login != "" {
		for name, u := range map[string]string{"Login": a.Cloud.Login, "Metadata": a.Cloud.Metadata, "EntraMetadata": a.Cloud.EntraMetadata} {
			if parseURL(u) == nil {
				problem("Cloud.%s is %q: must be a URL", name, u)
			}
		}
	}
	secret, certificate := a.Password != "", len(a.Certificate) > 0
	if a.Credential != nil {
		return errors.Join(problems...)
	}
	switch a.Type {
	case "", MultiTenant, SingleTenant:
		switch {
		case a.Type == SingleTenant && a.TenantID == "":
			problem("TenantID is missing: a bot of type SingleTenant needs it")
		case !secret && !certificate:
			problem("Password or Certificate is missing: a bot of type %s needs one of them", cmp.Or(a.Type, MultiTenant))
		}
		if secret && certificate {
			problem("both Password and Certificate are set: only one of them can be used")
		}
		if certificate {
			if _, _, err := parseCertificate(a.Certificate); err != nil {
				problem("Certificate: %w", err)
			}
		}
	case UserAssignedMSI, WorkloadIdentity:
		if a.Type == WorkloadIdentity && a.TenantID == "" {
			problem("TenantID is missing: a bot of type WorkloadIdentity needs it")
		}
		if secret || certificate {
			problem("Password or Certificate is set: a bot of type %s has none", a.Type)
		}
	default:
		problem("Type is %q: must be MultiTenant, SingleTenant, UserAssignedMSI or WorkloadIdentity", a.Type)
	}
	if len(problems) == 0 {
		if _, err := a.newCredential(http.DefaultClient); err != nil {
			problem("%w", err)
		}
	}
	return errors.Join(problems...)
}

// parseCertificate reads a certificate with its key. Its error has nothing of
// the data.
func parseCertificate(data []byte) ([]*x509.Certificate, crypto.PrivateKey, error) {
	certificates, key, err := azidentity.ParseCertificates(bytes.Clone(data), nil)
	if err != nil {
		return nil, nil, errors.New("must be a certificate with its private key, in PEM, or in PKCS #12 without a password")
	}
	return certificates, key, nil
}

// emulatorTenant is the tenant whose tokens are accepted.
func (a *App) emulatorTenant() string {
	if a.TenantID == "" && (a.Type == "" || a.Type == MultiTenant) {
		return a.Cloud.EmulatorTenant
	}
	return a.TenantID
}

// newCredential returns a credential that has no tokens yet.
func (a *App) newCredential(client policy.Transporter) (azcore.TokenCredential, error) {
	if a.Credential != nil {
		return a.Credential, nil
	}
	options := policy.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: a.Cloud.Login},
		Transport: client,
		Retry:     policy.RetryOptions{MaxRetries: 2, RetryDelay: 500 * time.Millisecond, MaxRetryDelay: 4 * time.Second, TryTimeout: 10 * time.Second},
	}
	tenant := a.TenantID
	if a.Type != SingleTenant && a.Type != WorkloadIdentity {
		tenant = a.Cloud.Tenant
	}
	// The discovery would ask the public cloud whether it knows the authority,
	// which we do know.
	switch {
	case a.Type == UserAssignedMSI:
		return azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
			ClientOptions: options, ID: azidentity.ClientID(a.ID)})
	case a.Type == WorkloadIdentity:
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: options, ClientID: a.ID, TenantID: tenant, DisableInstanceDiscovery: true})
	case len(a.Certificate) > 0:
		certificates, key, err := parseCertificate(a.Certificate)
		if err != nil {
			return nil, err
		}
		return azidentity.NewClientCertificateCredential(tenant, a.ID, certificates, key, &azidentity.ClientCertificateCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: true, SendCertificateChain: true})
	}
	return azidentity.NewClientSecretCredential(tenant, a.ID, a.Password, &azidentity.ClientSecretCredentialOptions{
		ClientOptions: options, DisableInstanceDiscovery: true})
}

const (
	// tokenEarly is how long before its end a token is renewed at the latest,
	// while it still serves.
	tokenEarly = 5 * time.Minute

	// tokenMargin is how long before its end a token is not used any more.
	tokenMargin = 10 * time.Second

	// tokenTimeout bounds a request for a token, its repetitions included.
	tokenTimeout = 30 * time.Second

	// tokenRetry is the shortest time between two requests for a token while
	// one is there.
	tokenRetry = 10 * time.Second

	// tokenPause is how long after a request for a token has failed there is
	// no other one.
	tokenPause = 2 * time.Second
)

// A TokenError reports that the bot got no token to send with.
type TokenError struct {
	Status int    // the HTTP status of the answer, 0 if there was none
	Code   string // Entra ID's error code, such as "AADSTS7000215"; "" if it gave none

	// Err is why there was no answer, or else the error of the credential. The
	// text of an azidentity.AuthenticationFailedError may repeat what was sent,
	// the secret included, and must not be logged.
	Err error
}

// Error returns the status and the code, or why there was no answer. It has
// nothing of what was sent or answered.
func (e *TokenError) Error() string {
	text := "connector: no token"
	if e.Status != 0 {
		text += fmt.Sprintf(": status %d", e.Status)
	}
	if e.Code != "" {
		text += " " + e.Code
	}
	if answered := (*azidentity.AuthenticationFailedError)(nil); !errors.As(e.Err, &answered) {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns Err.
func (e *TokenError) Unwrap() error { return e.Err }

// aadCode finds the code in what Entra ID says.
var aadCode = regexp.MustCompile(`AADSTS\d{1,9}`)

// A tokenClient makes the requests of one credential, and remembers what those
// of azidentity's errors that have no response do not wrap.
type tokenClient struct {
	client *http.Client
	err    error // of the last request
}

func (c *tokenClient) Do(r *http.Request) (*http.Response, error) {
	resp, err := c.client.Do(r)
	c.err = err
	return resp, err
}

// A tokenSource keeps the token that requests to channels carry. A token is
// fetched once for all who wait, and renewed while the old one serves.
type tokenSource struct {
	app    *App
	client *http.Client
	life   *life

	mu      sync.Mutex
	token   azcore.AccessToken
	tried   time.Time     // when the last fetch ended
	failed  error         // of the last fetch
	dropped time.Time     // when a token was last dropped
	pending *tokenRequest // while one is under way
}

type tokenRequest struct {
	done  chan struct{} // closed when the rest is set
	token string
	err   error
}

// get returns a token. Its error is a *[TokenError] or that of ctx.
func (s *tokenSource) get(ctx context.Context) (string, error) {
	s.mu.Lock()
	now := time.Now()
	good := s.token.Token != "" && now.Before(s.token.ExpiresOn.Add(-tokenMargin))
	renew := s.token.ExpiresOn.Add(-tokenEarly)
	if on := s.token.RefreshOn; !on.IsZero() && on.Before(renew) {
		renew = on
	}
	if good && (now.Before(renew) || now.Sub(s.tried) < tokenRetry) {
		defer s.mu.Unlock()
		return s.token.Token, nil
	}
	if !good && s.failed != nil && now.Sub(s.tried) < tokenPause {
		defer s.mu.Unlock()
		return "", s.failed
	}
	request := s.fetch()
	token := s.token.Token
	s.mu.Unlock()
	if good {
		return token, nil
	}
	if err := wait(ctx, request.done); err != nil {
		return "", err
	}
	return request.token, request.err
}

// fetch begins to fetch a token, unless that is under way. The caller holds
// s.mu.
func (s *tokenSource) fetch() *tokenRequest {
	if s.pending != nil {
		return s.pending
	}
	r := &tokenRequest{done: make(chan struct{})}
	if !s.life.begin() {
		r.err = &TokenError{Err: errClosed}
		close(r.done)
		return r
	}
	s.pending = r
	go func() {
		defer s.life.end()
		defer close(r.done)
		ctx, cancel := context.WithTimeout(s.life.ctx, tokenTimeout)
		defer cancel()
		token, err := s.request(ctx)
		r.token, r.err = token.Token, err
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pending, s.failed, s.tried = nil, err, time.Now()
		if err == nil {
			s.token = token
		}
	}()
	return r
}

// request gets a new token. It makes a new credential for that, because a credential
// of azidentity remembers its token, and would return the one that is to be renewed.
// Credentials of managed identities share one memory in the process; a request with
// claims, even with none in them, does not look there.
func (s *tokenSource) request(ctx context.Context) (token azcore.AccessToken, err error) {
	defer func() {
		if v := recover(); v != nil { // in a goroutine that nobody else watches
			err = &TokenError{Err: fmt.Errorf("panic in the credential: %T", v)}
		}
	}()
	client := &tokenClient{client: s.client}
	credential, err := s.app.newCredential(client)
	if err == nil {
		options := policy.TokenRequestOptions{Scopes: []string{s.app.Cloud.Scope}}
		if s.app.Type == UserAssignedMSI {
			options.Claims = "{}"
		}
		if token, err = credential.GetToken(ctx, options); err == nil {
			return token, nil
		}
	}
	failed := (*azidentity.AuthenticationFailedError)(nil)
	switch {
	case errors.As(err, &failed) && failed.RawResponse != nil:
		return azcore.AccessToken{}, &TokenError{failed.RawResponse.StatusCode, aadCode.FindString(err.Error()), err}
	case client.err != nil:
		return azcore.AccessToken{}, &TokenError{Err: client.err}
	}
	return azcore.AccessToken{}, &TokenError{Err: err}
}

// drop forgets a token that a channel did not accept. If the next one is not
// accepted either, it stays for a while: no other would be.
func (s *tokenSource) drop(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.token.Token == token && now.Sub(s.dropped) >= tokenRetry {
		s.token, s.dropped = azcore.AccessToken{}, now
	}
}

var errClosed = errors.New("the adapter is closed")
