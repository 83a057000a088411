package cibatest

import (
	"encoding/json"
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const simURL = "http://op.example/sim/"

// press sends one of the phone's buttons, as a program does.
func press(t *testing.T, s *Server, id, button string, header map[string]string) reply {
	t.Helper()
	req := newRequest(t, http.MethodPost, simURL+"requests/"+id+"/"+button, "")
	for name, value := range header {
		req.Header.Set(name, value)
	}
	return do(t, s, req)
}

func TestPhone_showsWaitingRequestsOnly(t *testing.T) {
	s := newServer(t, Config{})
	r := get(t, s, simURL)
	if !strings.Contains(string(r.body), "Nothing is waiting.") || !strings.Contains(string(r.body), "not MitID") {
		t.Errorf("empty page: %s", r.body)
	}

	for action, want := range map[string]string{
		"LOG_ON": "Log on", "APPROVE": "Approve", "CONFIRM": "Confirm", "ACCEPT": "Accept", "SIGN": "Sign", "": "Approve",
	} {
		extra := `,"action":"` + action + `"}`
		if action == "" {
			extra = "}"
		}
		id := startWith(t, s, with(startForm(), "login_hint_token", strings.TrimSuffix(testHint, "}")+extra))
		page := string(get(t, s, simURL).body)
		for _, part := range []string{
			`>` + want + `</h2>`, "Betal 100 kr. 😉", testUUID,
			`action="/sim/requests/` + id + `/approve"`, `action="/sim/requests/` + id + `/deny"`,
		} {
			if !strings.Contains(page, part) {
				t.Errorf("%s: page lacks %q", action, part)
			}
		}
		must(t, s.Deny(id))
		if page := string(get(t, s, simURL).body); strings.Contains(page, id) {
			t.Error("a denied request is still there")
		}
	}
}

func TestPhone_escapesTheText(t *testing.T) {
	s := newServer(t, Config{})
	const text = `</p><script>alert(1)</script>`
	startWith(t, s, with(startForm(), "login_hint_token", strings.Replace(testHint, "Betal 100 kr. 😉", text, 1)))
	page := string(get(t, s, simURL).body)
	if strings.Contains(page, "<script") || !strings.Contains(page, html.EscapeString(text)) {
		t.Errorf("page %s", page)
	}
}

func TestPhone_needsNothingFromElsewhere(t *testing.T) {
	s := newServer(t, Config{})
	start(t, s)
	r := get(t, s, simURL)
	for name, want := range map[string]string{
		"Content-Security-Policy": phonePolicy,
		"Content-Type":            "text/html; charset=utf-8",
		"X-Content-Type-Options":  "nosniff",
		"Cache-Control":           "no-store",
		"Referrer-Policy":         "same-origin",
	} {
		if got := r.header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	page := string(r.body)
	for _, m := range regexp.MustCompile(`(?:href|src|action)="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if !strings.HasPrefix(m[1], "/sim/") {
			t.Errorf("the page refers to %q", m[1])
		}
	}
	if strings.Contains(page, "<script") || strings.Contains(page, "style=") || !strings.Contains(page, `http-equiv="refresh"`) {
		t.Errorf("page %s", page)
	}
	css := get(t, s, simURL+"phone.css")
	if css.header.Get("Content-Type") != "text/css; charset=utf-8" || strings.Contains(string(css.body), "url(") {
		t.Errorf("style sheet: %v", css.header)
	}
}

func TestPhone_buttonsForPrograms(t *testing.T) {
	s := newServer(t, Config{})
	a, b := start(t, s), start(t, s)
	for _, tt := range []struct {
		id, button string
		status     int
	}{
		{a, "approve", http.StatusNoContent},
		{a, "approve", http.StatusConflict},
		{a, "deny", http.StatusConflict},
		{b, "deny", http.StatusNoContent},
		{b, "approve", http.StatusConflict},
		{"unknown", "approve", http.StatusNotFound},
		{"unknown", "deny", http.StatusNotFound},
		{a, "other", http.StatusNotFound},
	} {
		if r := press(t, s, tt.id, tt.button, nil); r.status != tt.status {
			t.Errorf("%s: status %d, want %d", tt.button, r.status, tt.status)
		}
	}
	wantPoll(t, s, a, "")
	wantPoll(t, s, b, "access_denied")
	if r := get(t, s, simURL+"requests/"+a+"/approve"); r.status != http.StatusMethodNotAllowed {
		t.Errorf("GET: status %d", r.status)
	}
}

func TestPhone_buttonsForBrowsers(t *testing.T) {
	s := newServer(t, Config{})
	id := start(t, s)
	browser := map[string]string{"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Site": "same-origin"}
	if r := press(t, s, id, "approve", browser); r.status != http.StatusSeeOther || r.header.Get("Location") != "/sim/" {
		t.Errorf("status %d, location %q", r.status, r.header.Get("Location"))
	}
	r := press(t, s, id, "approve", browser)
	if r.status != http.StatusConflict || !strings.Contains(string(r.body), "no longer waiting") {
		t.Errorf("again: status %d, body %s", r.status, r.body)
	}
	if r := press(t, s, "unknown", "deny", browser); r.status != http.StatusNotFound {
		t.Errorf("unknown: status %d", r.status)
	}
}

// A page of another site must not press the button of who has the phone open.
func TestPhone_refusesCrossSiteButtons(t *testing.T) {
	s := newServer(t, Config{})
	id := start(t, s)
	for name, header := range map[string]map[string]string{
		"fetch metadata":    {"Sec-Fetch-Site": "cross-site"},
		"same site":         {"Sec-Fetch-Site": "same-site"},
		"another origin":    {"Origin": "http://evil.example"},
		"an opaque origin":  {"Origin": "null"},
		"browser's headers": {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site", "Accept": "text/html"},
	} {
		for _, button := range []string{"approve", "deny"} {
			if r := press(t, s, id, button, header); r.status != http.StatusForbidden {
				t.Errorf("%s, %s: status %d", name, button, r.status)
			}
		}
	}
	if got := s.Requests()[0].State; got != StateWaiting {
		t.Errorf("state %s", got)
	}
	if r := press(t, s, id, "approve", map[string]string{"Origin": "http://op.example"}); r.status != http.StatusNoContent {
		t.Errorf("own origin: status %d", r.status)
	}
}

func TestSim_listsRequests(t *testing.T) {
	s := newServer(t, Config{})
	if r := get(t, s, simURL+"requests"); strings.TrimSpace(string(r.body)) != "[]" {
		t.Errorf("no requests: %s", r.body)
	}
	a, b := start(t, s), start(t, s)
	must(t, s.Approve(a))
	list := func(query string) (states map[string]string, first map[string]any) {
		r := get(t, s, simURL+"requests"+query)
		if r.header.Get("Content-Type") != "application/json" || r.header.Get("Cache-Control") != "no-store" {
			t.Errorf("header %v", r.header)
		}
		var all []map[string]any
		must(t, json.Unmarshal(r.body, &all))
		states = make(map[string]string)
		for _, q := range all {
			states[q["auth_req_id"].(string)] = q["state"].(string)
		}
		return states, all[0]
	}
	states, first := list("")
	if diff := cmp.Diff(map[string]string{b: "waiting"}, states); diff != "" {
		t.Errorf("waiting (-want +got):\n%s", diff)
	}
	delete(first, "created_at")
	delete(first, "expires_at")
	want := map[string]any{"auth_req_id": b, "state": "waiting", "uuid": testUUID, "text": "Betal 100 kr. 😉"}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	states, _ = list("?all=1")
	if diff := cmp.Diff(map[string]string{a: "approved", b: "waiting"}, states); diff != "" {
		t.Errorf("all (-want +got):\n%s", diff)
	}
}

func TestSim_showsTheLog(t *testing.T) {
	s := newServer(t, Config{})
	wantPoll(t, s, start(t, s), "authorization_pending")
	var calls []Call
	must(t, json.Unmarshal(get(t, s, simURL+"log").body, &calls))
	want := s.Log()
	if len(want) != 2 {
		t.Fatalf("%d calls; those to /sim/ do not count", len(want))
	}
	for i := range want { // JSON has no monotonic clock
		want[i].Started, want[i].Ended = want[i].Started.Round(0), want[i].Ended.Round(0)
	}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestSim_hasNothingElse(t *testing.T) {
	s := newServer(t, Config{})
	for _, path := range []string{"other", "requests/", "phone.html"} {
		if r := get(t, s, simURL+path); r.status != http.StatusNotFound {
			t.Errorf("%s: status %d", path, r.status)
		}
	}
}
