package connector

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/infracloudio/msbotbuilder-go/schema"
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
	issuers []string // of Entra ID

	channel, entra *keySet
	parser         *jwt.Parser
}

func newVerifier(app *App, life *life, client *http.Client) *verifier {
	return &verifier{
		appID:   app.ID,
		issuer:  app.Cloud.Issuer,
		issuers: app.Cloud.issuers(app.emulatorTenant()),
		channel: &keySet{metadata: app.Cloud.Metadata, client: client, life: life},
		entra:   &keySet{metadata: app.Cloud.EntraMetadata, client: client, life: life},
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{"RS256", "RS384", "RS512"}),
			jwt.WithLeeway(leeway),
			jwt.WithExpirationRequired(),
		),
	}
}

// claims are what the tokens of channels and those of Entra ID say. They
// implement jwt.Claims with fewer allocations than jwt.RegisteredClaims.
type claims struct {
	Issuer          string  `json:"iss"`
	Audience        any     `json:"aud"` // a string, or an array of them
	Expires         float64 `json:"exp"`
	NotBefore       float64 `json:"nbf"`
	ServiceURL      string  `json:"serviceurl"`
	Version         string  `json:"ver"`
	AppID           string  `json:"appid"`
	AuthorizedParty string  `json:"azp"`

	// What a token has that is for a user, or for a client without a secret.
	Scope       string `json:"scp"`
	ClientAuth1 string `json:"appidacr"`
	ClientAuth2 string `json:"azpacr"`
}

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return numericDate(c.Expires), nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return numericDate(c.NotBefore), nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (c *claims) GetIssuer() (string, error)                   { return c.Issuer, nil }
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
	audience := c.Audience
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

// verify checks the token of a request, for which it does not need the body.
// The error is a *RequestError.
func (v *verifier) verify(ctx context.Context, r *http.Request) (*identity, error) {
	token, err := bearerToken(r.Header)
	if err != nil {
		return nil, unauthorized(err)
	}
	var c claims
	id := &identity{}
	_, err = v.parser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		set := v.entra
		if id.channel = c.Issuer == v.issuer; id.channel {
			set = v.channel
		} else if !slices.Contains(v.issuers, c.Issuer) {
			return nil, errIssuer
		}
		var ok bool
		if id.keyID, ok = t.Header["kid"].(string); !ok || id.keyID == "" {
			return nil, errKeyID
		}
		k, err := set.find(ctx, id.keyID)
		if err != nil {
			return nil, err
		}
		id.endorsements = k.endorsements
		return k.public, nil
	})
	switch {
	case err == nil:
	case errors.Is(err, errNoKeys), ctx.Err() != nil:
		return nil, &RequestError{http.StatusServiceUnavailable, "tokens cannot be checked now", err}
	default:
		return nil, unauthorized(why(err, &c, id))
	}
	if !c.isFor(v.appID) {
		return nil, forbidden(errors.New("claim aud is not this bot"))
	}
	if id.channel {
		id.serviceURL = c.ServiceURL
		return id, nil
	}
	if c.Scope != "" || c.ClientAuth1 == "0" || c.ClientAuth2 == "0" {
		return nil, forbidden(errors.New("claims scp, appidacr or azpacr: the token is a user's, or of a client without a secret"))
	}
	switch c.Version {
	case "", "1.0":
		if c.AppID != v.appID {
			return nil, forbidden(errors.New("claim appid is not this bot"))
		}
	case "2.0":
		if c.AuthorizedParty != v.appID {
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

// why says in our own words what is wrong with a token: those of the parser
// might have some of the token in them.
func why(err error, c *claims, id *identity) error {
	switch {
	case errors.Is(err, errIssuer):
		return fmt.Errorf("claim iss %.64q is not an issuer for this bot", c.Issuer)
	case errors.Is(err, errKeyID):
		return errors.New("the token names no key")
	case errors.Is(err, errUnknownKey):
		return fmt.Errorf("key %.64q of issuer %q is unknown", id.keyID, c.Issuer)
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return errors.New("claim exp is missing")
	case errors.Is(err, jwt.ErrTokenExpired):
		return fmt.Errorf("claim exp: the token of issuer %q has expired", c.Issuer)
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return fmt.Errorf("claim nbf: the token of issuer %q is not valid yet", c.Issuer)
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

// HTTPStatus and HTTPReason are what package bot answers with.
func (e *RequestError) HTTPStatus() int    { return e.Status }
func (e *RequestError) HTTPReason() string { return e.Reason }

func unauthorized(cause error) *RequestError {
	return &RequestError{http.StatusUnauthorized, "not authentic", cause}
}

func forbidden(cause error) *RequestError {
	return &RequestError{http.StatusForbidden, "not for this bot", cause}
}
