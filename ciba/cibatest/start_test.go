package cibatest

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestStart_acknowledges(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	s := newServer(t, Config{
		ExpiresIn: 120 * time.Second,
		Interval:  3 * time.Second,
		Now:       func() time.Time { return now },
	})
	hint := `{"idp":"mitid","uuid":"` + testUUID + `","referenceTextBody":"a","ip":"2001:db8::1",` +
		`"action":"SIGN","referenceId":"r","ciba_nonce":"n","appOS":"IOS","other":{"a":[1]}}`
	r := post(t, s, "/connect/ciba", with(startForm(), "login_hint_token", hint))
	id, _ := r.json["auth_req_id"].(string)
	want := map[string]any{"auth_req_id": id, "expires_in": 120.0, "interval": 3.0}
	if diff := cmp.Diff(want, r.json); diff != "" || r.status != http.StatusOK {
		t.Errorf("status %d, answer (-want +got):\n%s", r.status, diff)
	}
	wantRequests := []Request{{
		ID: id, State: StateWaiting, UUID: testUUID, Text: "a", Action: "SIGN", IP: "2001:db8::1",
		ReferenceID: "r", Nonce: "n", CreatedAt: now, ExpiresAt: now.Add(120 * time.Second),
	}}
	if diff := cmp.Diff(wantRequests, s.Requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestStart_defaultsToTheBrokersNumbers(t *testing.T) {
	r := post(t, newServer(t, Config{}), "/connect/ciba", startForm())
	if r.json["expires_in"] != 300.0 || r.json["interval"] != 5.0 {
		t.Errorf("answer %s", r.body)
	}
}

func TestStart_givesUnguessableIDs(t *testing.T) {
	s := newServer(t, Config{})
	shape := regexp.MustCompile(`^[0-9A-F]{64}-1$`)
	seen := make(map[string]bool)
	for range 100 {
		id := start(t, s)
		if !shape.MatchString(id) || seen[id] {
			t.Fatalf("auth_req_id %q", id)
		}
		seen[id] = true
	}
}

func TestStart_checksParameters(t *testing.T) {
	for _, tt := range []struct {
		name string
		form url.Values
		want string
	}{
		{"as documented", startForm(), ""},
		{"unknown parameter", with(startForm(), "other", "x"), ""},
		{"several scopes", with(startForm(), "scope", "openid mitid"), ""},
		{"no grant type", with(startForm(), "grant_type"), "invalid_request"},
		{"another grant type", with(startForm(), "grant_type", "authorization_code"), "invalid_request"},
		{"no scope", with(startForm(), "scope"), "invalid_request"},
		{"scope without openid", with(startForm(), "scope", "mitid openid2"), "invalid_scope"},
		{"no hint", with(startForm(), "login_hint_token"), "invalid_request"},
		{"two hints", with(startForm(), "login_hint", "x"), "invalid_request"},
		{"two hints, id token", with(startForm(), "id_token_hint", "x"), "invalid_request"},
		{"another hint", with(with(startForm(), "login_hint", "x"), "login_hint_token"), "invalid_request"},
		{"signed request", with(startForm(), "request", "x"), "invalid_request"},
	} {
		t.Run(tt.name, func(t *testing.T) { checkStart(t, Config{}, tt.form, tt.want) })
	}
}

func TestStart_checksTheHint(t *testing.T) {
	base := func(extra string) string {
		return `{"idp":"mitid","uuid":"` + testUUID + `","referenceTextBody":"a","ip":"1.1.1.1"` + extra + `}`
	}
	replace := func(old, new string) string {
		if !strings.Contains(base(""), old) {
			t.Fatalf("nothing to replace: %s", old)
		}
		return strings.Replace(base(""), old, new, 1)
	}
	text := func(s string) string { return replace(`"referenceTextBody":"a"`, `"referenceTextBody":"`+s+`"`) }
	encode := base64.StdEncoding.EncodeToString
	const uuid = `"uuid":"` + testUUID + `"`
	for _, tt := range []struct{ name, hint, want string }{
		{"plain", base(""), ""},
		{"white space in front", " \n" + base(""), ""},
		{"Base64", encode([]byte(base(""))), ""},
		{"Base64 without padding", strings.TrimRight(encode([]byte(base(`,"a":1`))), "=") + "A", "invalid_request"},
		{"Base64URL", base64.URLEncoding.EncodeToString([]byte(text("???>>>"))), "invalid_request"},
		{"nested form of the broker's sample, Base64", "eyJpZHAiOiJtaXRpZCIsImlkcF9wYXJhbXMiOiJ7InV1aWQiOiI4YTk4NTZlMC1mMTJkLTQyMTctYjMyMC1jOGEwNzZiZTkzMjAiLCAicmVmZXJlbmNlVGV4dEJvZHkiOiJUZXN0aW5nIE1pdElEIEZsZXggYXBwIPCfmIkiLCAiaXAiOiIxLjEuMS4xIn0ifQ==", "invalid_request"},
		{"nested form, valid JSON", base(`,"idp_params":"{}"`), "invalid_request"},
		{"not JSON", "{", "invalid_request"},
		{"something behind", base("") + "{}", "invalid_request"},
		{"an array", encode([]byte("[]")), "invalid_request"},
		{"null", encode([]byte("null")), "invalid_request"},
		{"not UTF-8", text("\xff"), "invalid_request"},

		{"no idp", replace(`"idp":"mitid",`, ``), "invalid_request"},
		{"another idp", replace(`"mitid"`, `"nemid"`), "invalid_request"},
		{"another case of a name", replace(`"uuid"`, `"UUID"`), "invalid_request"},

		{"cpr", replace(uuid, `"cpr":"0101400000"`), ""},
		{"cpr that is none", replace(uuid, `"cpr":"010140-0000"`), "invalid_request"},
		{"cpr and uuid", base(`,"cpr":"0101400000"`), "invalid_request"},
		{"neither cpr nor uuid", replace(uuid+",", ``), "invalid_request"},
		{"uuid that is none", replace(testUUID, testUUID+"0"), "invalid_request"},
		{"uuid with capitals", replace(testUUID, strings.ToUpper(testUUID)), ""},
		{"uuid not a string", replace(uuid, `"uuid":1`), "invalid_request"},
		{"uuid null", replace(uuid, `"uuid":null`), "invalid_request"},

		{"no text", replace(`"referenceTextBody":"a",`, ``), "invalid_request"},
		{"empty text", text(""), "invalid_request"},
		{"130 characters", text(strings.Repeat("å", 130)), ""},
		{"130 emoji", text(strings.Repeat("😉", 130)), ""},
		{"131 characters", text(strings.Repeat("å", 131)), "invalid_request"},

		{"no ip", replace(`,"ip":"1.1.1.1"`, ``), "invalid_request"},
		{"ip that is none", replace("1.1.1.1", "1.1.1"), "invalid_request"},
		{"ip with a port", replace("1.1.1.1", "1.1.1.1:80"), "invalid_request"},
		{"ip with a zone", replace("1.1.1.1", "fe80::1%eth0"), "invalid_request"},

		{"log on", base(`,"action":"LOG_ON"`), ""},
		{"approve", base(`,"action":"APPROVE"`), ""},
		{"confirm", base(`,"action":"CONFIRM"`), ""},
		{"accept", base(`,"action":"ACCEPT"`), ""},
		{"sign", base(`,"action":"SIGN"`), ""},
		{"another action", base(`,"action":"PAY"`), "invalid_request"},
		{"empty action", base(`,"action":""`), "invalid_request"},
		{"nonce null", base(`,"ciba_nonce":null`), "invalid_request"},
		{"action in another case", base(`,"action":"sign"`), "invalid_request"},

		{"referenceId", base(`,"referenceId":"a"`), ""},
		{"reference_id", base(`,"reference_id":"a"`), ""},
		{"both references", base(`,"referenceId":"a","reference_id":"a"`), "invalid_request"},
		{"unknown member", base(`,"appSwitchReturnUrl":"https://a.example","x":null`), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkStart(t, Config{}, with(startForm(), "login_hint_token", tt.hint), tt.want)
		})
	}
}

func checkStart(t *testing.T, cfg Config, form url.Values, want string) {
	t.Helper()
	s := newServer(t, cfg)
	r := post(t, s, "/connect/ciba", form)
	status, requests := http.StatusOK, 1
	if want != "" {
		status, requests = http.StatusBadRequest, 0
	}
	if r.status != status || r.code() != want {
		t.Errorf("status %d, error %q, want %d, %q", r.status, r.code(), status, want)
	}
	if got := len(s.Requests()); got != requests {
		t.Errorf("%d requests, want %d", got, requests)
	}
	call := s.Log()[0]
	wantCall := Call{Endpoint: EndpointStart, Status: status, Error: want}
	if requests == 1 {
		wantCall.AuthReqID = s.Requests()[0].ID
	}
	if diff := cmp.Diff(wantCall, call, cmpopts.IgnoreFields(Call{}, "Started", "Ended")); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestStart_knowsOnlyKnownUsers(t *testing.T) {
	known := Config{KnownUUIDs: []string{strings.ToUpper(testUUID)}}
	checkStart(t, known, startForm(), "")
	checkStart(t, Config{KnownUUIDs: []string{}}, startForm(), "unknown_user_id")
	other := strings.Replace(testHint, testUUID, "00000000-0000-4000-8000-000000000000", 1)
	checkStart(t, known, with(startForm(), "login_hint_token", other), "unknown_user_id")
}

func TestStart_keepsNoCPRNumber(t *testing.T) {
	s := newServer(t, Config{})
	hint := strings.Replace(testHint, `"uuid":"`+testUUID+`"`, `"cpr":"0101400000"`, 1)
	startWith(t, s, with(startForm(), "login_hint_token", hint))
	startWith(t, s, with(startForm(), "login_hint_token", hint))
	got := s.Requests()
	if got[0].UUID != got[1].UUID || !uuidShape.MatchString(got[0].UUID) {
		t.Errorf("UUIDs %q and %q, want one UUID for one number", got[0].UUID, got[1].UUID)
	}
}
