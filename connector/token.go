package connector

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/internal/object"
)

const (
	// leeway is how far the clocks of issuers may differ from ours.
	leeway = 5 * time.Minute

	// maxToken bounds a token, in bytes.
	maxToken = 16 << 10
)

// A verifier checks the tokens of requests to one bot.
type verifier struct {
	appID   string
	issuer  string   // of channels
	issuers []string // of Entra ID, all for the tenant
	tenant  string
	caller  string // the callerId of whoever has a good token

	channel, entra *keySet
	validator      *jwt.Validator
}

func newVerifier(app *App, life *life, client *http.Client) *verifier {
	return &verifier{
		appID:     app.ID,
		issuer:    app.Cloud.Issuer,
		issuers:   app.Cloud.issuers(app.emulatorTenant()),
		tenant:    app.emulatorTenant(),
		caller:    app.Cloud.callerID(),
		channel:   &keySet{metadata: app.Cloud.Metadata, client: client, life: life},
		entra:     &keySet{metadata: app.Cloud.EntraMetadata, client: client, life: life},
		validator: jwt.NewValidator(jwt.WithLeeway(leeway), jwt.WithExpirationRequired()),
	}
}

// algorithms are those by which a token may be signed.
var algorithms = []string{"RS256", "RS384", "RS512"}

// claims are what the tokens of channels and those of Entra ID say. They
// implement jwt.Claims with fewer allocations than jwt.RegisteredClaims.
type claims struct {
	issuer          string  // iss
	audience        any     // aud: a string, or an array of them
	expires         float64 // exp
	notBefore       float64 // nbf
	serviceURL      string  // serviceurl
	version         string  // ver
	appID           string  // appid
	authorizedParty string  // azp
	tenant          string  // tid

	// What a token has that is for a user, or for a client without a secret.
	scope       string // scp
	clientAuth1 string // appidacr
	clientAuth2 string // azpacr
}

var claimNames = object.NewNames("iss", "aud", "exp", "nbf", "serviceurl", "ver", "appid", "azp", "tid", "scp", "appidacr", "azpacr")

// read reads claims by their exact names.
func (c *claims) read(data []byte) error {
	r := object.NewReader(data)
	for name := range r.Members(claimNames) {
		switch name {
		case "iss":
			c.issuer = r.ID()
		case "aud":
			c.audience = r.Any()
		case "exp":
			c.expires = r.Float64()
		case "nbf":
			c.notBefore = r.Float64()
		case "serviceurl":
			c.serviceURL = r.ID()
		case "ver":
			c.version = r.ID()
		case "appid":
			c.appID = r.ID()
		case "azp":
			c.authorizedParty = r.ID()
		case "tid":
			c.tenant = r.ID()
		case "scp":
			c.scope = r.ID()
		case "appidacr":
			c.clientAuth1 = r.ID()
		case "azpacr":
			c.clientAuth2 = r.ID()
		}
	}
	return r.End("the token")
}

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return numericDate(c.expires), nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return numericDate(c.notBefore), nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (c *claims) GetIssuer() (string, error)                   { return c.issuer, nil }
func (c *claims) GetSubject() (string, error)                  { return "", nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }

// numericDate returns nil for 0: the claim is missing.
func numericDate(seconds float64) *jwt.NumericDate {
	if seconds == 0 {
		return nil
	}
	const max = 1 << 53 // beyond it, no time is meant
	return &jwt.NumericDate{Time: time.Unix(int64(math.Min(math.Max(seconds, -max), max)), 0)}
}

// isFor reports whether the token is for this bot and nobody else.
func (c *claims) isFor(appID string) bool {
	audience := c.audience
	if list, ok := audience.([]any); ok && len(list) == 1 {
		audience = list[0]
	}
	return audience == appID
}

// An identity is what a valid token proves about who has sent a request.
type identity struct {
	// channel is whether it was a channel. Otherwise it was a program that
	// has the bot's own credentials, such as the Bot Framework Emulator.
	channel bool

	keyID        string
	endorsements []string
	serviceURL   string
}

var (
	errIssuer = errors.New("unknown issuer")
	errKeyID  = errors.New("no key id")
)

var headerNames = object.NewNames("alg", "kid")

// readHeader returns by which algorithm and key a token is signed.
func readHeader(data []byte) (algorithm, keyID string, err error) {
	r := object.NewReader(data)
	for name := range r.Members(headerNames) {
		switch name {
		case "alg":
			algorithm = r.ID()
		case "kid":
			keyID = r.ID()
		}
	}
	return algorithm, keyID, r.End("the header")
}

// parse reads a token, and checks its signature and when it is valid.
func (v *verifier) parse(ctx context.Context, token string, c *claims, id *identity) error {
	parts := strings.SplitN(token, ".", 4)
	if len(parts) != 3 {
		return jwt.ErrTokenMalformed
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			return jwt.ErrTokenMalformed
		}
	}
	algorithm, keyID, err := readHeader(decoded[0])
	if err == nil {
		err = c.read(decoded[1])
	}
	if err != nil {
		return err
	}
	set := v.entra
	if id.channel = c.issuer == v.issuer; id.channel {
		set = v.channel
	} else if !slices.Contains(v.issuers, c.issuer) {
		return errIssuer
	}
	if id.keyID = keyID; keyID == "" {
		return errKeyID
	}
	if !slices.Contains(algorithms, algorithm) {
		return jwt.ErrTokenSignatureInvalid
	}
	k, err := set.find(ctx, keyID)
	if err != nil {
		return err
	}
	id.endorsements = k.endorsements
	signed := token[:len(parts[0])+len(".")+len(parts[1])]
	if jwt.GetSigningMethod(algorithm).Verify(signed, decoded[2], k.public) != nil {
		return jwt.ErrTokenSignatureInvalid
	}
	return v.validator.Validate(c)
}

// verify checks the token of a request, for which it does not need the body.
// The error is a *RequestError.
func (v *verifier) verify(ctx context.Context, r *http.Request) (*identity, error) {
	token, err := bearerToken(r.Header)
	if err != nil {
		return nil, unauthorized(err)
	}
	var c claims
	id := &identity{}
	err = v.parse(ctx, token, &c, id)
	switch {
	case err == nil:
	case errors.Is(err, errNoKeys), ctx.Err() != nil:
		return nil, &RequestError{http.StatusServiceUnavailable, "tokens cannot be checked now", err}
	default:
		return nil, unauthorized(why(err, &c, id))
	}
	if !id.channel && c.tenant != v.tenant {
		return nil, unauthorized(errors.New("claim tid is not the tenant of claim iss"))
	}
	if !c.isFor(v.appID) {
		return nil, forbidden(errors.New("claim aud is not this bot"))
	}
	if id.channel {
		id.serviceURL = c.serviceURL
		return id, nil
	}
	if c.scope != "" || c.clientAuth1 == "0" || c.clientAuth2 == "0" {
		return nil, forbidden(errors.New("claims scp, appidacr or azpacr: the token is a user's, or of a client without a secret"))
	}
	switch c.version {
	case "", "1.0":
		if c.appID != v.appID {
			return nil, forbidden(errors.New("claim appid is not this bot"))
		}
	case "2.0":
		if c.authorizedParty != v.appID {
			return nil, forbidden(errors.New("claim azp is not this bot"))
		}
	default:
		return nil, forbidden(errors.New("claim ver is not 1.0 or 2.0"))
	}
	return id, nil
}

// check compares what the token proves with what the activity says.
func (id *identity) check(a *schema.Activity) error {
	switch {
	case !id.channel:
	case id.serviceURL == "":
		return forbidden(errors.New("claim serviceurl is missing"))
	case id.serviceURL != a.ServiceURL:
		return forbidden(errors.New("claim serviceurl is not the activity's serviceUrl"))
	case a.ChannelID == "" || !slices.Contains(id.endorsements, a.ChannelID):
		return forbidden(fmt.Errorf("key %.64q is not endorsed for channel %.64q", id.keyID, a.ChannelID))
	}
	return nil
}

// bearerToken returns the token of a request.
func bearerToken(h http.Header) (string, error) {
	values := h.Values("Authorization")
	switch {
	case len(values) == 0:
		return "", errors.New("no Authorization header")
	case len(values) > 1:
		return "", errors.New("more than one Authorization header")
	case len(values[0]) > maxToken:
		return "", errors.New("the Authorization header is too long")
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" || strings.Contains(token, " ") {
		return "", errors.New("the Authorization header has no bearer token")
	}
	return token, nil
}

// why says in our own words what is wrong with a token: those of a library
// might have some of the token in them.
func why(err error, c *claims, id *identity) error {
	var unreadable object.Error
	switch {
	case errors.As(err, &unreadable):
		return unreadable
	case errors.Is(err, errIssuer):
		return fmt.Errorf("claim iss %.64q is not an issuer for this bot", c.issuer)
	case errors.Is(err, errKeyID):
		return errors.New("the token names no key")
	case errors.Is(err, errUnknownKey):
		return fmt.Errorf("key %.64q of issuer %q is unknown", id.keyID, c.issuer)
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return errors.New("claim exp is missing")
	case errors.Is(err, jwt.ErrTokenExpired):
		return fmt.Errorf("claim exp: the token of issuer %q has expired", c.issuer)
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return fmt.Errorf("claim nbf: the token of issuer %q is not valid yet", c.issuer)
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return fmt.Errorf("the signature is not by key %.64q in an allowed way", id.keyID)
	}
	return errors.New("the token is malformed")
}

// A RequestError reports a request that is not handled.
type RequestError struct {
	Status int    // the HTTP status to answer with
	Reason string // one line that can be shown to the client
	Cause  error  // what the log should say besides, without any of a token; or nil
}

// Error returns the reason and the cause.
func (e *RequestError) Error() string {
	if e.Cause == nil {
		return e.Reason
	}
	return e.Reason + ": " + e.Cause.Error()
}

// Unwrap returns the cause.
func (e *RequestError) Unwrap() error { return e.Cause }

// HTTPStatus and HTTPReason make it a StatusError of package bot.
func (e *RequestError) HTTPStatus() int    { return e.Status }
func (e *RequestError) HTTPReason() string { return e.Reason }

func unauthorized(cause error) *RequestError {
	return &RequestError{http.StatusUnauthorized, "not authentic", cause}
}

func forbidden(cause error) *RequestError {
	return &RequestError{http.StatusForbidden, "not for this bot", cause}
}
