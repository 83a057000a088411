package caddymodule_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/approval/memstore"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// withheld checks that an answer is the gate's, and that it lets nothing pass.
// What it says depends on what else is pending.
func withheld(t testing.TB, name string, a answer) {
	t.Helper()
	state := a.header.Get("Step-Up-State")
	if a.status < 400 || state == "" || state == "approved" || strings.Contains(a.body, upstreamAnswer) {
		t.Errorf("%s: answer is %d with state %q, want a refusal\n%.300s", name, a.status, state, a.body)
	}
}

// testMutations sends what was approved with one thing changed.
func (w *world) testMutations(t *testing.T) {
	for _, m := range []struct {
		name   string
		mutate func(*http.Request)
	}{
		{"one byte of the body", func(r *http.Request) { setBody(r, "amount=200&to=a") }},
		{"a byte more", func(r *http.Request) { setBody(r, "amount=100&to=a ") }},
		{"a byte less", func(r *http.Request) { setBody(r, "amount=100&to=") }},
		{"no body", func(r *http.Request) { setBody(r, "") }},
		{"one character of the query", func(r *http.Request) { r.URL.RawQuery = "a=2" }},
		{"another spelling of the query", func(r *http.Request) { r.URL.RawQuery = "%61=1" }},
		{"a longer query", func(r *http.Request) { r.URL.RawQuery += "&" }},
		{"no query", func(r *http.Request) { r.URL.RawQuery = "" }},
		{"an empty query", func(r *http.Request) { r.URL.RawQuery, r.URL.ForceQuery = "", true }},
		{"another path", func(r *http.Request) { r.URL.Path += "x" }},
		{"a slash", func(r *http.Request) { r.URL.Path += "/" }},
		{"another spelling of the path", func(r *http.Request) { r.URL.RawPath = "/auto/mutat%65" }},
		{"another method", func(r *http.Request) { r.Method = http.MethodPut }},
		{"another host", func(r *http.Request) { r.Host = "other.example" }},
		{"another port", func(r *http.Request) { r.Host = "127.0.0.1:1" }},
		{"another scheme", func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") }},
		{"another content type", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }},
		{"a parameter of the content type", func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=x") }},
		{"no content type", func(r *http.Request) { r.Header.Del("Content-Type") }},
		{"two content types", func(r *http.Request) { r.Header.Add("Content-Type", "text/plain") }},
		{"a content encoding", func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }},
		{"an overridden method", func(r *http.Request) { r.Header.Set("X-HTTP-Method-Override", "DELETE") }},
		{"an overridden URL", func(r *http.Request) { r.Header.Set("X-Original-URL", "/admin") }},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			p := w.person(t)
			r := p.request("POST", "/auto/mutate?a=1", "amount=100&to=a", formType)
			p.approved(r)
			mutated := p.mine(r)
			m.mutate(mutated)
			refusedState := p.send(again(mutated, "Step-Up-Status: 0"))
			refused(t, refusedState, http.StatusForbidden, "none")
			withheld(t, m.name, p.send(again(mutated, async)))
			p.untouched()
			// It has hurt nothing: what was approved still passes, once.
			passed(t, p.send(p.mine(r)))
			if got := len(p.arrived()); got != 1 {
				t.Errorf("the application saw %d requests, want 1", got)
			}
		})
	}
}

func setBody(r *http.Request, body string) {
	other, _ := http.NewRequest(r.Method, "/", strings.NewReader(body))
	r.Body, r.GetBody, r.ContentLength = other.Body, other.GetBody, other.ContentLength
}

// testOtherPolicy sends what was approved under one rule to where another rule
// holds, with nothing else changed.
func (w *world) testOtherPolicy(t *testing.T) {
	p := w.person(t)
	r := p.request("POST", "/policy", "x", "Which: a")
	p.approved(r)
	other := p.mine(r)
	other.Header.Set("Which", "b")
	refused(t, p.send(again(other, "Step-Up-Status: 0")), http.StatusForbidden, "none")
	withheld(t, "another policy", p.send(again(other, async)))
	p.untouched()
	passed(t, p.send(p.mine(r)))
}

func (w *world) testOtherSession(t *testing.T) {
	p := w.person(t)
	r := p.request("POST", "/auto/session", "x")
	p.approved(r)
	other := w.person(t)
	other.start(other.request("POST", "/auto/session2", "x"))

	without := again(r)
	without.Header.Del("Step-Up-Session")
	withheld(t, "no session", p.send(again(without, async)))
	with := again(without)
	with.Header.Set("Step-Up-Session", other.session)
	withheld(t, "another session", p.send(again(with, async)))
	cookie := again(without, "Cookie: step_up="+other.session)
	withheld(t, "another session's cookie", p.send(again(cookie, async)))
	// The cookie of a site with TLS is none of a site without.
	wrongName := again(without, "Cookie: __Host-step_up="+p.session)
	withheld(t, "the other cookie", p.send(again(wrongName, async)))
	p.untouched()
	passed(t, p.send(p.mine(r)))
}

func (w *world) testOtherUser(t *testing.T) {
	p, thief := w.person(t), w.person(t)
	r := p.request("POST", "/auto/user", "x")
	p.approved(r)
	stolen := p.mine(r)
	stolen.Header.Set("Remote-User", thief.name)
	refused(t, p.send(again(stolen, "Step-Up-Status: 0")), http.StatusForbidden, "none")
	withheld(t, "another user", p.send(again(stolen, async)))
	p.untouched()
	thief.untouched()
	passed(t, p.send(p.mine(r)))
}

// testReplays sends an approved request a hundred times at once.
func (w *world) testReplays(t *testing.T) {
	p := w.person(t)
	r := p.request("POST", "/auto/replay", "amount=100")
	p.approved(r)
	var waits []func() answer
	for range 100 {
		waits = append(waits, p.sending(p.mine(r)))
	}
	pass := 0
	for _, wait := range waits {
		if a := wait(); a.status == http.StatusOK {
			pass++
		} else {
			refused(t, a, http.StatusForbidden, "spent")
		}
	}
	if pass != 1 {
		t.Errorf("%d of 100 replays passed, want 1", pass)
	}
	p.reached("/auto/replay", 1)
	p.pushed(1)
}

// testForgedHeaders sends what an approved request might look like to a gate
// that believes its client.
func (w *world) testForgedHeaders(t *testing.T) {
	approvedBy := w.person(t)
	d := approvedBy.approved(approvedBy.request("POST", "/auto/forged", "x"))
	for name, header := range map[string][]string{
		"state":        {"Step-Up-State: approved"},
		"approval":     {"Step-Up-Approval: " + d.Approval.ID},
		"facts":        {"Step-Up-User: x", "Step-Up-UUID: x", "Step-Up-Approval: " + d.Approval.ID, "Step-Up-Time: 2026-01-01T00:00:00Z"},
		"restart":      {"Step-Up-Restart: " + d.Approval.ID},
		"empty":        {"Step-Up-Session: ", "Step-Up-Approval: ", "Step-Up-Restart: "},
		"long":         {"Step-Up-Session: " + strings.Repeat("A", 10_000), "Step-Up-Approval: " + strings.Repeat("A", 10_000)},
		"bearer":       {"Authorization: Bearer " + d.Approval.ID},
		"placeholders": {"Step-Up-Session: {env.HOME}", "Step-Up-Approval: {http.step_up.approval_id}"},
	} {
		p := w.person(t)
		a := p.send(p.request("POST", "/auto/forged", "x", append(header, async)...))
		withheld(t, name, a)
		p.untouched()
	}
	approvedBy.untouched()
}

// testForgedSessions sends sessions that the gate has not made. It must make
// one of its own.
func (w *world) testForgedSessions(t *testing.T) {
	store := memstore.New(memstore.Config{})
	defer store.Close()
	foreign, err := approval.NewEngine(approval.Config{Store: store, Secret: []byte(strings.Repeat("s", 32))})
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()

	own := w.person(t)
	own.start(own.request("POST", "/auto/sessions", "own"))
	raw, err := base64.RawURLEncoding.DecodeString(own.session)
	if err != nil {
		t.Fatal(err)
	}
	flipped := slices.Clone(raw)
	flipped[0] ^= 1
	for name, token := range map[string]string{
		"of another gateway": foreign.SessionToken(foreign.NewSession()),
		"with a bit flipped": base64.RawURLEncoding.EncodeToString(flipped),
		"of zeros":           strings.Repeat("A", len(own.session)),
		"cut":                own.session[:len(own.session)-1],
		"and more":           own.session + "A",
		"padded":             own.session + "==",
		"in standard base64": strings.Repeat("+/", 32),
		"a quote":            `"` + own.session + `"`,
	} {
		for _, header := range []string{"Step-Up-Session: ", "Cookie: step_up=", "Cookie: a=b; step_up=x; step_up="} {
			if name == "a quote" && strings.HasPrefix(header, "Cookie") {
				continue // a quoted cookie value is the same value
			}
			p := w.person(t)
			r := p.request("POST", "/auto/sessions", "x", header+token)
			a := p.send(again(r, async))
			refused(t, a, http.StatusUnauthorized, "pending")
			got := a.header.Get("Step-Up-Session")
			if got == "" || got == token {
				t.Errorf("a session %s, sent as %s: the gate gave out %q", name, header, got)
			}
			refused(t, p.send(again(r, "Step-Up-Status: 0")), http.StatusForbidden, "none")
			p.untouched()
		}
	}
}

// testForgedTokens lets the broker, or who pretends to be it, answer with
// tokens that are wrong in one thing.
func (w *world) testForgedTokens(t *testing.T) {
	for name, fault := range map[string]cibatest.Fault{
		"foreign key":       {Token: cibatest.TokenForeignKey},
		"encryption key":    {Token: cibatest.TokenEncKey},
		"alg none":          {Token: cibatest.TokenAlgNone},
		"HS256":             {Token: cibatest.TokenHS256},
		"wrong aud":         {Token: cibatest.TokenWrongAud},
		"extra aud":         {Token: cibatest.TokenExtraAud},
		"wrong iss":         {Token: cibatest.TokenWrongIss},
		"wrong UUID":        {Token: cibatest.TokenWrongUUID},
		"wrong text":        {Token: cibatest.TokenWrongText},
		"expired":           {Token: cibatest.TokenExpired},
		"earlier auth_time": {Token: cibatest.TokenEarlyAuthTime},
		"wrong at_hash":     {Token: cibatest.TokenWrongAtHash},
		"wrong nonce":       {Token: cibatest.TokenWrongNonce},
		"no UUID":           {Token: cibatest.TokenMissingClaim, Claim: "mitid.uuid"},
		"no text":           {Token: cibatest.TokenMissingClaim, Claim: "mitid.reference_text"},
		"no exp":            {Token: cibatest.TokenMissingClaim, Claim: "exp"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := w.person(t)
			r := p.request("POST", "/auto/tokens", "x")
			held := p.sending(r)
			fault.Endpoint, fault.AuthReqID = cibatest.EndpointToken, p.phone().ID
			defer w.broker.Inject(fault)()
			p.approve()
			a := held()
			refused(t, a, http.StatusForbidden, "failed")
			p.session = a.header.Get("Step-Up-Session")
			refused(t, p.send(p.mine(r, async)), http.StatusForbidden, "failed")
			p.pushed(1)
			p.untouched()
		})
	}
}

// checkLog looks for what no log may show, at DEBUG. Caddy's reverse proxy logs
// the headers that it sends on, and with them the user that these tests pass in
// a header; its lines may show that much.
func (w *world) checkLog() {
	w.Helper()
	w.secret(cibatest.DemoClientSecret)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.secrets) < 100 || len(w.personal) < 100 {
		w.Fatalf("only %d secrets and %d personal data are known: they are not noted as they should be", len(w.secrets), len(w.personal))
	}
	var ours, proxy strings.Builder // what the reverse proxy logs, and all the rest
	gate := 0
	for line := range strings.Lines(w.log()) {
		var entry struct{ Logger string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			w.Fatalf("log line is no JSON: %v", err)
		}
		if strings.Contains(entry.Logger, "step_up") {
			gate++
		}
		if entry.Logger == "http.handlers.reverse_proxy" {
			proxy.WriteString(line)
		} else {
			ours.WriteString(line)
		}
	}
	if gate < 100 {
		w.Errorf("only %d log lines are the gate's", gate)
	}
	for _, c := range []struct {
		log       string
		forbidden []string
	}{{ours.String(), w.personal}, {ours.String(), w.secrets}, {proxy.String(), w.secrets}} {
		for _, s := range c.forbidden {
			quoted, _ := json.Marshal(s)
			for _, form := range []string{s, strings.Trim(string(quoted), `"`)} {
				if i := strings.Index(c.log, form); i >= 0 {
					from := strings.LastIndex(c.log[:i], "\n") + 1
					w.Errorf("the log has what no log may show, %.12q…, in the line %.200s", s, c.log[from:])
					break
				}
			}
		}
	}
}
