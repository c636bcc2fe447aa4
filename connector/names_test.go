package connector_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/botlapse/botlapse/connector"
)

// textToken signs a token whose claims are those of good with more members
// before and after, as texts. A good token of Entra ID is one with tid.
func textToken(a *authority, before string, good jwt.MapClaims, after string) string {
	members, _ := json.Marshal(good)
	s := a.channel[0]
	if good["tid"] != nil {
		s = a.entra[0]
	}
	return signText(fmt.Sprintf(`{"alg":"RS256","kid":%q}`, s.id), "{"+before+strings.Trim(string(members), "{}")+after+"}", s)
}

// signText signs a token of any text.
func signText(header, claims string, s *signer) string {
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	signature, err := jwt.SigningMethodRS256.Sign(signed, s.key)
	if err != nil {
		panic(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// TestD2NamesOfClaimsAreExact has tokens with a claim in two spellings, or
// twice: with a value that would be refused, and with a good one that some
// readers go by.
func TestD2NamesOfClaimsAreExact(t *testing.T) {
	past, ahead := fmt.Sprint(time.Now().Unix()-1e9), fmt.Sprint(time.Now().Unix()+3e9)
	quoted := func(s string) string { return `"` + s + `"` }
	for _, claim := range []struct {
		name      string
		entra     bool
		bad, good string
		variants  []string
	}{
		{"iss", false, quoted("https://evil.test"), quoted("https://api.botframework.test"), []string{"ISS", "Iss", "iſs", `i\u017fs`, `I\u0073s`}},
		{"aud", false, quoted("somebody-else"), quoted(appID), []string{"AUD", "Aud", `\u0041ud`}},
		{"exp", false, past, ahead, []string{"EXP", "eXp", `ex\u0050`}},
		{"nbf", false, ahead, past, []string{"NBF", `\u004ebf`}},
		{"serviceurl", false, quoted("https://evil.test/"), quoted("https://authority.test/teams"), []string{"SERVICEURL", "serviceUrl", "ſerviceurl", `\u017ferviceurl`}},
		{"iss", true, quoted("https://sts.test/other-tenant/"), quoted("https://sts.test/" + tenantID + "/"), []string{"ISS", "isſ"}},
		{"appid", true, quoted("somebody-else"), quoted(appID), []string{"APPID", "appId", `app\u0049d`}},
		{"ver", true, quoted("3.0"), quoted("1.0"), []string{"VER"}},
		{"tid", true, quoted("other-tenant"), quoted(tenantID), []string{"TID", "tId"}},
		{"scp", true, quoted("access_as_user"), quoted(""), []string{"SCP", "ſcp", `\u017fcp`}},
		{"appidacr", true, quoted("0"), quoted("1"), []string{"APPIDACR", "appIdAcr"}},
		{"azpacr", true, quoted("0"), quoted("1"), []string{"AZPACR", "azpAcr"}},
	} {
		good := func(a *authority) jwt.MapClaims {
			if claim.entra {
				return with(a.emulatorClaims(), claim.name, nil)
			}
			return with(a.claims(), claim.name, nil)
		}
		member := func(name, value string) string { return `"` + name + `":` + value }
		escaped := fmt.Sprintf(`\u%04x%s`, claim.name[0], claim.name[1:])
		row := func(problem, first, second string) {
			test := hostile{name: first + " and " + second, status: 401, log: "the token's " + claim.name + " is there " + problem}
			test.token = func(a *authority) string { return textToken(a, first+",", good(a), ","+second) }
			test.run(t)
		}
		for _, values := range [][2]string{{claim.bad, claim.good}, {claim.good, claim.bad}} {
			row("twice", member(claim.name, values[0]), member(claim.name, values[1]))
			row("twice", member(claim.name, values[0]), member(escaped, values[1]))
			for _, variant := range claim.variants {
				row("in two spellings", member(claim.name, values[0]), member(variant, values[1]))
				row("in two spellings", member(variant, values[0]), member(claim.name, values[1]))
			}
		}
	}
}

// TestD2AnotherSpellingIsNoClaim has tokens with another spelling alone.
func TestD2AnotherSpellingIsNoClaim(t *testing.T) {
	for _, claim := range []struct {
		name, variant string
		entra         bool
		status        int
		log           string
	}{
		{"iss", "ISS", false, 401, "is not an issuer for this bot"},
		{"aud", "AUD", false, 403, "claim aud"},
		{"exp", "EXP", false, 401, "claim exp is missing"},
		{"serviceurl", "serviceUrl", false, 403, "claim serviceurl is missing"},
		{"appid", "APPID", true, 403, "claim appid"},
		{"tid", "TID", true, 401, "claim tid"},
	} {
		test := hostile{name: claim.variant, status: claim.status, log: claim.log}
		test.token = func(a *authority) string {
			claims := a.claims()
			if claim.entra {
				claims = a.emulatorClaims()
			}
			value := claims[claim.name]
			signer := a.channel[0]
			if claim.entra {
				signer = a.entra[0]
			}
			return sign(with(claims, claim.name, nil, claim.variant, value), signer)
		}
		test.run(t)
	}
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, newAuthority(), connector.Options{})
		for _, token := range []string{
			textToken(d.authority, `"NBF":1e300,"x":1,`, with(d.claims(), "nbf", nil), `,"SCP":"x","x":2`),
			textToken(d.authority, `"ſcp":"access_as_user",`, d.emulatorClaims(), `,"SCP":"access_as_user"`),
		} {
			if w := d.post(token, d.activity()); w.Code != 200 {
				t.Errorf("with unknown claims the answer is %d, log:\n%s", w.Code, d.log)
			}
		}
	})
}

func TestD2HostileTokens(t *testing.T) {
	header := func(header string) func(*authority) string {
		return func(a *authority) string {
			claims, _ := json.Marshal(a.claims())
			return signText(header, string(claims), a.channel[0])
		}
	}
	for _, test := range []hostile{
		{name: "a kid twice", token: header(`{"alg":"RS256","kid":"c9","kid":"c1"}`), status: 401, log: "the header's kid is there twice"},
		{name: "a kid twice by an escape", token: header(`{"alg":"RS256","kid":"c9","\u006bid":"c1"}`), status: 401, log: "the header's kid is there twice"},
		{name: "a kid and a KID", token: header(`{"alg":"RS256","kid":"c9","KID":"c1"}`), status: 401, log: "the header's kid is there in two spellings"},
		{name: "a kid with a Kelvin and a kid", token: header(`{"alg":"RS256","` + "\u212a" + `id":"c9","kid":"c1"}`), status: 401, log: "the header's kid is there in two spellings"},
		{name: "a KID alone", token: header(`{"alg":"RS256","KID":"c1"}`), status: 401, log: "names no key"},
		{name: "an alg twice", token: header(`{"alg":"none","alg":"RS256","kid":"c1"}`), status: 401, log: "the header's alg is there twice"},
		{name: "an alg and an ALG", token: header(`{"alg":"RS256","ALG":"none","kid":"c1"}`), status: 401, log: "the header's alg is there in two spellings"},
		{name: "a kid that is not valid Unicode", token: header(`{"alg":"RS256","kid":"c1\ud800"}`), status: 401, log: "the header's kid is not valid Unicode"},
		{name: "an issuer that is not valid Unicode", token: func(a *authority) string {
			return textToken(a, "", with(a.claims(), "iss", nil), `,"iss":"https://api.botframework.test\udc00"`)
		}, status: 401, log: "the token's iss is not valid Unicode"},
		{name: "a tid of another tenant", token: emulator("tid", "other-tenant"), status: 401, log: "claim tid is not the tenant of claim iss"},
		{name: "a tid of another tenant, version 2", token: emulator("ver", "2.0", "appid", nil, "azp", appID, "iss", "https://login.test/"+tenantID+"/v2.0", "tid", "other-tenant"), status: 401, log: "claim tid"},
		{name: "no tid", token: emulator("tid", nil), status: 401, log: "claim tid"},
		{name: "an empty tid", token: emulator("tid", ""), status: 401, log: "claim tid"},
		{name: "a tid that is a number", token: emulator("tid", 7), status: 401, log: "the token's tid cannot be a number"},
		{name: "this bot twice as audience", token: claims("aud", []string{appID, appID}), status: 403, log: "claim aud"},
	} {
		test.run(t)
	}
}

// TestD2NamesInKeyDocumentsAreExact: of a document that says two things, or
// says its thing under another name, nothing is believed.
func TestD2NamesInKeyDocumentsAreExact(t *testing.T) {
	k := rsaKeys()
	evil := (&signer{id: "c1", key: k[3], endorsements: []string{"msteams"}}).jwk()
	for _, test := range []struct {
		name, metadata, keys string // GOOD is the address of the keys, and a good key
	}{
		{"jwks_uri twice", `{"jwks_uri":"https://evil.test/keys","jwks_uri":GOOD}`, ""},
		{"jwks_uri and JWKS_URI", `{"jwks_uri":GOOD,"JWKS_URI":"https://evil.test/keys"}`, ""},
		{"jwkſ_uri alone", `{"jwkſ_uri":GOOD}`, ""},
		{"keys twice", "", `{"keys":[GOOD],"keys":[GOOD]}`},
		{"KEYS and keys", "", `{"KEYS":[GOOD],"keys":[GOOD]}`},
		{"KEYS alone", "", `{"KEYS":[GOOD]}`},
		{"a key with n twice", "", `{"keys":[MORE,"n":"AQAB"}]}`},
		{"a key with kid and KID", "", `{"keys":[MORE,"KID":"c2"}]}`},
		{"a key with endorsements and Endorsements", "", `{"keys":[MORE,"Endorsements":[]}]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority()
				good, _ := json.Marshal(a.channel[0].jwk())
				keys := strings.ReplaceAll(strings.ReplaceAll(test.keys, "GOOD", string(good)), "MORE", strings.TrimSuffix(string(good), "}"))
				a.trouble = func(w http.ResponseWriter, r *http.Request) {
					switch {
					case keys == "":
						fmt.Fprint(w, strings.ReplaceAll(test.metadata, "GOOD", `"`+a.url+`/channel/keys"`))
					case strings.HasSuffix(r.URL.Path, "keys.metadata"):
						fmt.Fprint(w, keys)
					default:
						fmt.Fprintf(w, `{"jwks_uri":%q}`, a.url+"/keys.metadata")
					}
				}
				d := newDoor(t, a, connector.Options{})
				if w := d.post(sign(a.claims(), a.channel[0]), a.activity()); w.Code != 503 || d.turns.Load() != 0 {
					t.Errorf("answer is %d, log:\n%s", w.Code, d.log)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.channel = append(a.channel, &signer{public: map[string]any{"KTY": "RSA", "KID": "c1", "N": evil["n"], "E": evil["e"]}})
		d := newDoor(t, a, connector.Options{})
		if w := d.post(sign(a.claims(), a.channel[0]), a.activity()); w.Code != 200 {
			t.Errorf("a key under other names spoils a good one: %d, log:\n%s", w.Code, d.log)
		}
	})
}
