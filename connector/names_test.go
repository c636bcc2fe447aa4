package connector_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
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

// TestD1HostileActivities has activities that name a field twice, or in two
// spellings, one of which is somebody else's.
func TestD1HostileActivities(t *testing.T) {
	good := map[string]string{
		"type": `"message"`, "id": `"m1"`, "channelId": `"msteams"`, "serviceUrl": `"https://authority.test/teams"`,
		"conversation": `{"id":"c"}`, "from": `{"id":"u"}`, "recipient": `{"id":"bot"}`, "text": `"hi"`,
	}
	bad := map[string]string{
		"type": `"endOfConversation"`, "id": `"m2"`, "channelId": `"webchat"`, "serviceUrl": `"https://evil.test/"`,
		"conversation": `{"id":"victim"}`, "from": `{"id":"victim"}`, "recipient": `{"id":"victim"}`, "text": `"other"`,
	}
	row := func(problem, path, first, second string, body map[string]string) {
		rest := ""
		for name, value := range body {
			rest += `,"` + name + `":` + value
		}
		test := hostile{name: first + " and " + second, status: 400, log: "the activity's " + path + " is there " + problem}
		test.body = func(*authority) string { return "{" + first + rest + "," + second + "}" }
		test.run(t)
	}
	without := func(name string) map[string]string {
		body := make(map[string]string)
		for n, value := range good {
			if n != name {
				body[n] = value
			}
		}
		return body
	}
	pairs := func(path, name, good, bad string, rest map[string]string, inside func(members string) string) {
		variants := []string{strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:], fmt.Sprintf(`\u%04x%s`, name[0]-'a'+'A', name[1:])}
		if strings.Contains(name, "s") {
			variants = append(variants, strings.Replace(name, "s", "ſ", 1), strings.Replace(name, "s", `\u017f`, 1))
		}
		for _, values := range [][2]string{{good, bad}, {bad, good}} {
			member := func(name, value string) string { return `"` + name + `":` + value }
			both := func(problem, first, second string) {
				if inside == nil {
					row(problem, path, first, second, rest)
				} else {
					row(problem, path, inside(first+","+second), `"x":0`, rest)
				}
			}
			both("twice", member(name, values[0]), member(name, values[1]))
			both("twice", member(name, values[0]), member(fmt.Sprintf(`\u%04x%s`, name[0], name[1:]), values[1]))
			for _, variant := range variants {
				both("in two spellings", member(name, values[0]), member(variant, values[1]))
				both("in two spellings", member(variant, values[0]), member(name, values[1]))
			}
		}
	}
	for name := range good {
		pairs(name, name, good[name], bad[name], without(name), nil)
	}
	for _, outer := range []string{"conversation", "from", "recipient"} {
		pairs(outer+".id", "id", `"u"`, `"victim"`, without(outer), func(members string) string { return `"` + outer + `":{` + members + `}` })
	}
	pairs("conversation.tenantId", "tenantId", `"u"`, `"victim"`, without("conversation"), func(members string) string { return `"conversation":{` + members + `}` })
}

// TestD1AnotherSpellingIsNoField has activities with another spelling alone:
// it is kept in the raw text, and says nothing.
func TestD1AnotherSpellingIsNoField(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, newAuthority(), connector.Options{})
		var got *bot.Turn
		d.handler = d.adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
			got = turn
			return nil
		})
		const rest = `"type":"message","channelId":"msteams","serviceUrl":"https://authority.test/teams","x":[1],"x":{}`
		for _, variant := range []string{
			`"CONVERSATION":{"id":"victim"}`, `"conver\u017fation":{"id":"victim"}`, `"From":{"id":"victim"}`, `"Recipient":{"id":"victim"}`, `"ID":"m1"`, `"TEXT":"x","Text":"y"`, `"deliverymode":"expectReplies"`,
			`"conversation":{"ID":"victim"}`, `"from":{"Id":"victim","i\u0044":"victim"}`,
		} {
			body := "{" + rest + "," + variant + "}"
			w := d.post(sign(d.claims(), d.channel[0]), body)
			want := schema.Activity{Type: "message", ChannelID: "msteams", ServiceURL: "https://authority.test/teams"}
			if w.Code != 200 || w.Body.Len() > 0 || fmt.Sprint(got.Activity) != fmt.Sprint(want) || string(got.Raw) != body {
				t.Errorf("%s: answer is %d %s, activity is %+v, raw text %s", variant, w.Code, w.Body, got.Activity, got.Raw)
			}
		}
		for name, status := range map[string]int{"type": 400, "channelId": 403, "serviceUrl": 403} {
			body := strings.Replace("{"+rest+"}", name, strings.ToUpper(name), 1)
			if w := d.post(sign(d.claims(), d.channel[0]), body); w.Code != status {
				t.Errorf("%s: answer is %d", body, w.Code)
			}
		}
	})
}

// TestD6TheCallerIsWhomTheTokenNames, whatever the activity says.
func TestD6TheCallerIsWhomTheTokenNames(t *testing.T) {
	for _, test := range []struct {
		name     string
		cloud    connector.Cloud
		emulator bool
		want     string
	}{
		{"the public cloud", connector.PublicCloud(), false, "urn:botframework:azure"},
		{"Azure Government", connector.USGovernmentCloud(), false, "urn:botframework:azureusgov"},
		{"Azure in China", connector.ChinaCloud(), false, ""},
		{"the Emulator", connector.PublicCloud(), true, "urn:botframework:azure"},
		{"a cloud of one's own", connector.Cloud{Issuer: "https://api.botframework.test"}, false, ""},
		{"nobody, without credentials", connector.Cloud{}, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority()
				app := a.app()
				app.Cloud.Issuer = test.cloud.Issuer
				d := newDoor(t, a, connector.Options{App: app})
				token := sign(with(a.claims(), "iss", test.cloud.Issuer), a.channel[0])
				if test.emulator {
					token = sign(a.emulatorClaims(), a.entra[0])
				}
				if test.cloud.Issuer == "" {
					base := newAdapter(t, connector.Options{AllowUnauthenticated: true, Transport: a})
					d.adapter, token = bot.NewAdapter(base), ""
				}
				var got *bot.Turn
				handler := d.adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
					got = turn
					return nil
				})
				for _, callerID := range []string{
					``, `"callerId":"urn:botframework:aadappid:evil",`, `"c\u0061llerId":"urn:botframework:aadappid:evil",`, `"callerId":null,`, `"callerId":"",`, `"CallerID":"urn:botframework:aadappid:evil",`,
				} {
					r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Replace(a.activity(), "{", "{"+callerID, 1)))
					r.Header.Set("Authorization", "Bearer "+token)
					w := httptest.NewRecorder()
					if handler.ServeHTTP(w, r); w.Code != 200 {
						t.Fatalf("answer is %d %s", w.Code, w.Body)
					}
					var raw map[string]any
					if err := json.Unmarshal(got.Raw, &raw); err != nil {
						t.Fatal(err)
					}
					if said, _ := raw["callerId"].(string); got.Activity.CallerID != test.want || said != "" || raw["text"] != got.Activity.Text {
						t.Errorf("%s: the caller is %q, want %q; the raw text is %s", callerID, got.Activity.CallerID, test.want, got.Raw)
					}
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		d := newDoor(t, a, connector.Options{})
		body := strings.Replace(a.activity(), "{", `{"callerId":"urn:botframework:aadappid:evil",`, 1)
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+sign(a.claims(), a.channel[0]))
		if act, err := d.base.ParseRequest(t.Context(), r); err != nil || act.CallerID != "" || act.Text == "" {
			t.Errorf("without package bot the activity is %+v, %v", act, err)
		}
	})
}

// TestD4ATurnThatWaitsHoldsItsBytesOnly has 300 of them wait, with bodies that
// take many times as much once they are decoded.
func TestD4ATurnThatWaitsHoldsItsBytesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const conversations, waiting, elements = 5, 60, 2000
		d := newDoor(t, newAuthority(), connector.Options{})
		release := make(chan struct{})
		var turns atomic.Int64
		handler := d.adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
			turns.Add(1)
			if turn.Activity.Text == "first" {
				<-release
			} else if list, _ := turn.Activity.Value[""].([]any); len(list) != elements || turn.Activity.Text != "later" {
				t.Errorf("the text is %q, and the value has %d elements", turn.Activity.Text, len(list))
			}
			return nil
		})
		token := sign(d.claims(), d.channel[0])
		body := func(conversation, id int, text, value string) string {
			return fmt.Sprintf(`{"type":"message","text":%q,"id":"m%d","channelId":"msteams","serviceUrl":%q,"from":{"id":"u1"},"conversation":{"id":"c%d"},"value":%s}`,
				text, id, d.url+"/teams", conversation, value)
		}
		post := func(body string, status int) {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			if handler.ServeHTTP(w, r); w.Code != status {
				t.Errorf("answer is %d %s", w.Code, w.Body)
			}
		}
		value := "[" + strings.Repeat(`{"a":{"b":{}}},`, elements-1) + `{}]`
		var bodies []string
		for i := range conversations * waiting {
			bodies = append(bodies, body(i%conversations, i, "later", value))
		}
		for c := range conversations {
			go post(body(c, -1, "first", "null"), 200)
		}
		synctest.Wait()
		before := heap()
		for _, body := range bodies {
			go post(body, 200)
		}
		synctest.Wait()
		held := int(heap()-before) / len(bodies)
		t.Logf("a waiting turn with a body of %d bytes holds %d", len(bodies[0]), held)
		if held > len(bodies[0])*5/4+16<<10 || turns.Load() != conversations {
			t.Errorf("%d turns run; a waiting one with a body of %d bytes holds %d", turns.Load(), len(bodies[0]), held)
		}
		// What is no activity is refused now, and not when its turn comes.
		post(strings.Replace(bodies[0], `{"b":{}}`, `{"b":{}`, 1), 400)
		post(strings.Replace(bodies[0], `"text"`, `"TEXT":"","text"`, 1), 400)
		post(strings.Replace(bodies[0], `"later"`, `7`, 1), 400)
		post(strings.Replace(bodies[0], `{}]`, strings.Repeat("{},", 10000)+`{}]`, 1), 400)
		close(release)
		synctest.Wait()
		if turns.Load() != int64(conversations+len(bodies)) {
			t.Errorf("%d turns have run", turns.Load())
		}
	})
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A rewriter is an adapter around that of the package.
type rewriter struct{ *connector.Adapter }

func (r rewriter) ParseRequest(ctx context.Context, req *http.Request) (schema.Activity, error) {
	a, err := r.Adapter.ParseRequest(ctx, req)
	a.Text = strings.ToUpper(a.Text)
	return a, err
}

// TestD4AnAdapterAroundTheBaseGetsAllOfTheActivity, and what it makes of it counts.
func TestD4AnAdapterAroundTheBaseGetsAllOfTheActivity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, newAuthority(), connector.Options{})
		var got *bot.Turn
		handler := bot.NewAdapter(rewriter{d.base}).HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
			got = turn
			return nil
		})
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Replace(d.activity(), "{", `{"callerId":"evil",`, 1)))
		r.Header.Set("Authorization", "Bearer "+sign(d.claims(), d.channel[0]))
		handler.ServeHTTP(httptest.NewRecorder(), r)
		if got == nil || got.Activity.Text != "THE USER'S WORDS" || got.Activity.CallerID != "" || strings.Contains(string(got.Raw), "evil") {
			t.Errorf("the turn is %+v", got)
		}
	})
}
