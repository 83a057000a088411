package caddymodule_test

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptrace"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// TestGate is one gate with many people at once, who do what people and
// programs do. Its log is read in the end.
func TestGate(t *testing.T) {
	w := prepareWorld(t, cibatest.Config{})
	w.secure = freeAddress(t)
	w.load(w.appOptions(), "")
	visitor := w.person(t).overTLS()
	eventually(t, "the certificate", func() bool {
		_, err := visitor.do(visitor.requestTo(w.secureBase(), "GET", "/open", ""))
		return err == nil
	})
	t.Run("group", func(t *testing.T) {
		tests := map[string]func(*testing.T){
			"opens without a question where no route is gated":      w.testOpen,
			"refuses what the person refuses":                       w.testDeny,
			"answers a challenge":                                   w.testChallenge,
			"answers a held request with the challenge in the end":  w.testHoldEnds,
			"tells the state as soon as it changes":                 w.testStatus,
			"starts over only when asked":                           w.testRestart,
			"remembers an approval":                                 w.testRemember,
			"asks once for identical requests":                      w.testJoin,
			"finishes in the session of a cookie":                   w.testCookie,
			"finishes over TLS with a __Host- cookie":               w.testSecureCookie,
			"hands what was verified to the application":            w.testPlaceholders,
			"keeps its headers and cookies from the application":    w.testHygiene,
			"refuses who is nobody, or nobody it knows, in one way": w.testUnknown,
			"reads a large body not to its end":                     w.testTooLarge,
			"refuses what cannot be shown":                          w.testUnshowable,
			"refuses what comes from another site":                  w.testCrossSite,
			"refuses an answer of too low assurance":                w.testLoA,
			"refuses early data":                                    w.testEarlyData,
			"hands verified headers to the application":             w.testHeaders,
			"passes a CORS preflight and gates every other OPTIONS": w.testPreflight,
			"asks one person for one thing at a time":               w.testConflict,
			"asks nobody again who has just refused":                w.testCoolDown,
			"continues a POST from its page without JavaScript":     w.testPagePost,
			"continues a GET from its page without JavaScript":      w.testPageGet,
			"restarts a POST from its page, when asked":             w.testPageRestart,
			"cancels from the page, here and at the broker":         w.testPageCancel,
			"does not ask for reloads":                              w.testPageReload,
			"speaks the language of the browser":                    w.testPageLanguage,
			"refuses every mutation of an approved request":         w.testMutations,
			"refuses another session":                               w.testOtherSession,
			"refuses another user":                                  w.testOtherUser,
			"refuses a handle of another session":                   w.testOtherHandle,
			"passes one of a hundred replays":                       w.testReplays,
			"takes no approval from forged headers":                 w.testForgedHeaders,
			"adopts no session that it has not made":                w.testForgedSessions,
			"takes no answer that does not verify":                  w.testForgedTokens,
			"continues nothing at another path":                     w.testControlElsewhere,
			"refuses another policy":                                w.testOtherPolicy,
		}
		for name, body := range bodies(t) {
			tests["passes on "+name+", once and byte for byte"] = func(t *testing.T) { w.testBody(t, body) }
		}
		together(t, tests)
	})
	w.checkLog()
}

// content is a request's body and how it is sent.
type content struct {
	method, path, contentType string
	body                      string
	chunked, expect, h2c      bool
}

func bodies(t testing.TB) map[string]content {
	t.Helper()
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	var upload bytes.Buffer
	form := multipart.NewWriter(&upload)
	_ = form.WriteField("note", "gråd og grød")
	file, err := form.CreateFormFile("file", `faktura "æ".pdf`)
	if err != nil {
		t.Fatal(err)
	}
	file.Write(bytes.Repeat(every, 300))
	form.Close()

	const amount = "amount=100%2C50&to=B%C3%B8rge+%26+s%C3%B8n&to2=%zz"
	return map[string]content{
		"a form":                           {path: "/form/plain", contentType: "application/x-www-form-urlencoded", body: "amount=100%2C50&to=B%C3%B8rge+%26+s%C3%B8n"},
		"a form in chunks":                 {path: "/form/chunked", contentType: "application/x-www-form-urlencoded", body: "amount=1&to=a", chunked: true},
		"JSON":                             {path: "/json/plain", contentType: "application/json", body: "{\"payment\": {\"amount\": 100.50},\n \"x\": [\"\\u00e6\"] }\n"},
		"every byte there is":              {path: "/auto/binary", contentType: "application/octet-stream", body: string(every)},
		"an upload":                        {path: "/auto/multipart", contentType: form.FormDataContentType(), body: upload.String()},
		"no body":                          {path: "/auto/empty"},
		"an odd form that nobody reads":    {path: "/auto/oddform", contentType: "application/x-www-form-urlencoded", body: amount},
		"a body in chunks":                 {path: "/auto/chunked", contentType: "application/octet-stream", body: strings.Repeat("chunk", 20_000), chunked: true},
		"a body of max_body":               {path: "/auto/mebibyte", contentType: "application/octet-stream", body: strings.Repeat("m", 1<<20)},
		"a body after 100 Continue":        {path: "/auto/expect", contentType: "text/plain", body: "expected", expect: true},
		"a body over HTTP2":                {path: "/auto/h2c", contentType: "application/octet-stream", body: strings.Repeat("h2", 50_000), h2c: true},
		"a body over HTTP2 without length": {path: "/auto/h2cstream", contentType: "text/plain", body: "stream", h2c: true, chunked: true},
		"PUT":                              {method: http.MethodPut, path: "/auto/put", contentType: "text/plain", body: "put"},
		"PATCH":                            {method: http.MethodPatch, path: "/auto/patch", contentType: "application/merge-patch+json", body: "{}"},
		"DELETE":                           {method: http.MethodDelete, path: "/auto/delete"},
		"GET with a query":                 {method: http.MethodGet, path: "/auto/get?a=1&b=%C3%A6&a=2&step_up=x"},
		"GET with an empty query":          {method: http.MethodGet, path: "/auto/getempty?"},
		"an unknown method":                {method: "BREW", path: "/auto/brew", body: "tea", contentType: "message/coffeepot"},
		"an odd path":                      {method: http.MethodGet, path: "/auto/a%2Fb%20c;d=e"},
	}
}

func (w *world) testBody(t *testing.T, c content) {
	p := w.person(t)
	if c.method == "" {
		c.method = http.MethodPost
	}
	r := p.request(c.method, c.path, c.body)
	if c.contentType != "" {
		r.Header.Set("Content-Type", c.contentType)
	}
	if c.chunked {
		r.ContentLength = -1
		r.Body = io.NopCloser(struct{ io.Reader }{strings.NewReader(c.body)})
	}
	continued := make(chan struct{}, 1)
	if c.expect {
		r.Header.Set("Expect", "100-continue")
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
			Got100Continue: func() { continued <- struct{}{} },
		}))
	}
	if c.h2c {
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		p.client.Transport.(*http.Transport).Protocols = protocols
	}
	path, _, _ := strings.Cut(c.path, "?")
	w.secret(c.body)

	held := p.sending(r)
	q := p.phone()
	p.reached(path, 0)
	if q.IP != p.ip {
		t.Errorf("the broker was told the address %s, want the client's %s", q.IP, p.ip)
	}
	p.approve()
	a := held()
	passed(t, a)
	if c.h2c && a.proto != 2 {
		t.Errorf("spoke HTTP/%d, want 2", a.proto)
	}
	if c.expect {
		select {
		case <-continued:
		default:
			t.Error("got no 100 Continue")
		}
	}
	p.pushed(1)

	arrivals := w.upstream.arrivals(path)
	if len(arrivals) != 1 {
		t.Fatalf("the application saw %d requests, want 1", len(arrivals))
	}
	got := arrivals[0]
	if got.method != c.method || got.uri != c.path {
		t.Errorf("the application saw %s %s, want %s %s", got.method, got.uri, c.method, c.path)
	}
	if got.body != c.body {
		t.Errorf("the application saw a body of %d bytes that is not the one of %d bytes that was sent", len(got.body), len(c.body))
	}
	if got.length != int64(len(c.body)) {
		t.Errorf("the application was told a length of %d, want %d", got.length, len(c.body))
	}
	if got := got.header.Get("Content-Type"); got != c.contentType {
		t.Errorf("the application saw Content-Type %q, want %q", got, c.contentType)
	}
}

func (w *world) testOpen(t *testing.T) {
	p := w.person(t)
	r := p.request("POST", "/open/plain", "x", "Step-Up-Status: 5")
	r.Header.Del("Remote-User")
	passed(t, p.send(r))
	p.reached("/open/plain", 1)
	p.pushed(0)
}

func (w *world) testDeny(t *testing.T) {
	p := w.person(t)
	r := p.request("POST", "/auto/deny", "x")
	held := p.sending(r)
	p.deny()
	a := held()
	refused(t, a, http.StatusForbidden, "denied")
	if d := a.document(t); d.Approval == nil || d.Approval.State != "denied" || d.Status != http.StatusForbidden {
		t.Errorf("document is %+v", d)
	}
	p.session = a.header.Get("Step-Up-Session")
	// The same again is told the same, and rings nobody.
	refused(t, p.send(p.mine(r)), http.StatusForbidden, "denied")
	p.pushed(1)
	p.reached("/auto/deny", 0)
}

var (
	approvalID = regexp.MustCompile(`^[A-Z2-7]{26}$`)
	checkCode  = regexp.MustCompile(`^[2-9A-Z]{4}$`)
)

func (w *world) testChallenge(t *testing.T) {
	for _, c := range []struct{ name, path, prefer string }{
		{"respond challenge", "/challenge/1", ""},
		{"Prefer respond-async", "/auto/async", "respond-async"},
		{"Prefer respond-async with others", "/auto/async2", `handling=lenient, respond-async; x=1, wait=10`},
	} {
		p := w.person(t)
		r := p.request("POST", c.path, "x", formType)
		if c.prefer != "" {
			r.Header.Set("Prefer", c.prefer)
		}
		begun := time.Now()
		a := p.send(r)
		refused(t, a, http.StatusUnauthorized, "pending")
		h := a.header
		if got := h.Get("WWW-Authenticate"); !strings.HasPrefix(got, `Bearer error="insufficient_user_authentication"`) {
			t.Errorf("%s: WWW-Authenticate is %q", c.name, got)
		}
		if got := h.Get("Retry-After"); got != "1" {
			t.Errorf("%s: Retry-After is %q, want the interval, 1", c.name, got)
		}
		if got := h.Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("%s: Content-Type is %q", c.name, got)
		}
		d := a.document(t)
		q := p.phone()
		switch {
		case d.Approval == nil:
			t.Fatalf("%s: document has no approval: %s", c.name, a.body)
		case d.Status != 401 || d.Title == "" || !strings.HasPrefix(d.Type, "https://"):
			t.Errorf("%s: document is %+v", c.name, d)
		case !approvalID.MatchString(d.Approval.ID):
			t.Errorf("%s: id is %q", c.name, d.Approval.ID)
		case d.Approval.State != "pending":
			t.Errorf("%s: state is %q", c.name, d.Approval.State)
		case d.Approval.Text != q.Text:
			t.Errorf("%s: text is %q, on the phone %q", c.name, d.Approval.Text, q.Text)
		case !checkCode.MatchString(d.Approval.Code) || !strings.HasSuffix(q.Text, " ["+d.Approval.Code+"]"):
			t.Errorf("%s: code is %q, the text %q", c.name, d.Approval.Code, q.Text)
		case d.Approval.ExpiresAt.Before(begun.Add(290*time.Second)) || d.Approval.ExpiresAt.After(time.Now().Add(300*time.Second)):
			t.Errorf("%s: expires at %v", c.name, d.Approval.ExpiresAt)
		}
		w.secretCode(d.Approval.Code)
		p.session = h.Get("Step-Up-Session")
		if p.session == "" {
			t.Fatalf("%s: no session for a client without cookies", c.name)
		}
		p.approve()
		if state := p.awaitState(r); state != "approved" {
			t.Errorf("%s: state is %s", c.name, state)
		}
		p.reached(c.path, 0)
		passed(t, p.send(p.mine(r)))
		refused(t, p.send(p.mine(r)), http.StatusForbidden, "spent")
		p.reached(c.path, 1)
		p.pushed(1)
	}
}

func (w *world) testHoldEnds(t *testing.T) {
	for path, header := range map[string]string{"/brief/1": "X: y", "/auto/wait": "Prefer: wait=1"} {
		p := w.person(t)
		begun := time.Now()
		a := p.send(p.request("POST", path, "x", header))
		refused(t, a, http.StatusUnauthorized, "pending")
		if held := time.Since(begun); held < time.Second {
			t.Errorf("%s: held for %v, want 1s", path, held)
		}
		p.reached(path, 0)
	}
}

func (w *world) testStatus(t *testing.T) {
	p := w.person(t)
	r := p.request("POST", "/auto/status", "x")
	refused(t, p.send(p.mine(r, status)), http.StatusForbidden, "none")
	p.pushed(0)

	d := p.start(r)
	now := p.send(p.mine(r, "Step-Up-Status: 0"))
	refused(t, now, http.StatusOK, "pending")
	if got := now.document(t); got.ID != d.Approval.ID || got.Text != d.Approval.Text || got.Code != d.Approval.Code {
		t.Errorf("state is %+v, the challenge said %+v", got, d.Approval)
	}
	begun := time.Now()
	waiting := p.sending(p.mine(r, status))
	p.approve()
	a := waiting()
	refused(t, a, http.StatusOK, "approved")
	if a.document(t).State != "approved" {
		t.Errorf("document is %s", a.body)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("the answer came after %v, not when the state changed", took)
	}
	p.reached("/auto/status", 0)
	// Asking for the state uses nothing up.
	refused(t, p.send(p.mine(r, status)), http.StatusOK, "approved")
	passed(t, p.send(p.mine(r)))
	p.reached("/auto/status", 1)
}

func (w *world) testRestart(t *testing.T) {
	p := w.person(t).keepCookies()
	r := p.request("POST", "/auto/restart", "x")
	page := p.browse(r)
	p.phone()
	refused(t, p.send(page.submit("cancel")), http.StatusForbidden, "cancelled")

	a := p.send(again(r, async))
	refused(t, a, http.StatusForbidden, "cancelled")
	refused(t, p.send(again(r, async, "Step-Up-Restart: AAAAAAAAAAAAAAAAAAAAAAAAAA")), http.StatusForbidden, "cancelled")
	refused(t, p.send(again(r)), http.StatusForbidden, "cancelled")
	p.pushed(1)

	id := a.document(t).Approval.ID
	refused(t, p.send(again(r, async, "Step-Up-Restart: "+id)), http.StatusUnauthorized, "pending")
	p.pushed(2)
	// It starts over once, however often it is said.
	refused(t, p.send(again(r, async, "Step-Up-Restart: "+id)), http.StatusUnauthorized, "pending")
	p.pushed(2)
	p.approve()
	passed(t, p.send(again(r)))
	p.reached("/auto/restart", 1)
}

func (w *world) testRemember(t *testing.T) {
	p := w.person(t)
	held := p.sending(p.request("GET", "/remember/a", ""))
	p.approve()
	a := held()
	passed(t, a)
	if p.session = a.header.Get("Step-Up-Session"); p.session == "" {
		t.Fatal("the approval is remembered for a session that the client was not given")
	}
	passed(t, p.send(p.request("POST", "/remember/b", "another request")))
	passed(t, p.send(p.request("GET", "/remember/a", "")))
	p.reached("/remember/b", 1)
	p.pushed(1)

	other := w.person(t)
	other.session = p.session
	refused(t, other.send(other.request("GET", "/remember/c", "", async)), http.StatusUnauthorized, "pending")
	host := p.request("GET", "/remember/c", "", async, "Host: other.example")
	if a := p.send(host); a.status == http.StatusOK {
		t.Error("an approval that is remembered for one host is good for another")
	}
	p.reached("/remember/c", 0)
}

func (w *world) testJoin(t *testing.T) {
	p := w.person(t)
	r := p.request("POST", "/auto/join", "x")
	d := p.start(r)
	var held []func() answer
	for range 10 {
		held = append(held, p.sending(p.mine(r)))
		if other := p.start(p.mine(r)); other.Approval.ID != d.Approval.ID {
			t.Error("an identical request got an approval of its own")
		}
	}
	p.approve()
	pass := 0
	for _, wait := range held {
		if a := wait(); a.status == http.StatusOK {
			pass++
		} else {
			refused(t, a, http.StatusForbidden, "spent")
		}
	}
	if pass != 1 {
		t.Errorf("%d of the requests that shared an approval passed, want 1", pass)
	}
	p.reached("/auto/join", 1)
	p.pushed(1)
}

func (w *world) testCookie(t *testing.T) {
	p := w.person(t).keepCookies()
	r := p.request("POST", "/auto/cookie", "x")
	refused(t, p.send(again(r, async)), http.StatusUnauthorized, "pending")
	p.approve()
	passed(t, p.send(again(r)))
	p.reached("/auto/cookie", 1)
	p.pushed(1)
}

func (w *world) testSecureCookie(t *testing.T) {
	p := w.person(t).keepCookies().overTLS()
	r := p.requestTo(w.secureBase(), "POST", "/auto/secure", "x", "Sec-Fetch-Site: same-origin")
	a := p.send(again(r, async))
	refused(t, a, http.StatusUnauthorized, "pending")
	if a.proto != 2 {
		t.Errorf("spoke HTTP/%d, want 2", a.proto)
	}
	if got := a.header.Get("Step-Up-Session"); got != "" {
		t.Error("a browser's script can read the session")
	}
	resp := http.Response{Header: a.header}
	cookies := resp.Cookies()
	if len(cookies) != 1 {
		t.Fatalf("got %d cookies, want 1", len(cookies))
	}
	c := cookies[0]
	if c.Name != "__Host-step_up" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("cookie %s has path %q, domain %q, Secure %v, HttpOnly %v, SameSite %v",
			c.Name, c.Path, c.Domain, c.Secure, c.HttpOnly, c.SameSite)
	}
	p.approve()
	passed(t, p.send(again(r)))
	p.reached("/auto/secure", 1)
	p.pushed(1)
}

func (w *world) testPlaceholders(t *testing.T) {
	p := w.person(t)
	before := time.Now().Truncate(time.Second)
	r := p.request("POST", "/auto/facts", "x", "X-Approval: forged", "X-Approved-User: forged")
	d := p.approved(r)
	passed(t, p.send(p.mine(r)))
	arrivals := w.upstream.arrivals("/auto/facts")
	if len(arrivals) != 1 {
		t.Fatalf("the application saw %d requests", len(arrivals))
	}
	h := arrivals[0].header
	for name, want := range map[string]string{
		"X-Approval":      d.Approval.ID,
		"X-Approved-User": p.name,
		"X-Approved-Uuid": p.uuid,
	} {
		if got := h.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	at, err := time.Parse(time.RFC3339, h.Get("X-Approved-At"))
	if err != nil || at.Before(before) || at.After(time.Now()) {
		t.Errorf("X-Approved-At is %q", h.Get("X-Approved-At"))
	}
	if h.Get("X-Transaction") == "" {
		t.Error("X-Transaction is empty")
	}
	w.note(&w.personal, h.Values("X-Transaction"))
}

func (w *world) testHygiene(t *testing.T) {
	p := w.person(t)
	r := p.request("POST", "/auto/hygiene", "x")
	p.approved(r)
	r = p.mine(r, "Cookie: app=1; step_up=old; __Host-step_up=old; theme=dark")
	for _, name := range []string{
		"Step-Up-User", "Step-Up-Uuid", "step_up_user", "STEP.UP.TIME", "Step_Up-Approval", "step-up-approval", "Step-Up-Anything",
	} {
		r.Header[name] = []string{"forged", "forged twice"}
	}
	delete(r.Header, "Step_Up-Approval")
	delete(r.Header, "step-up-approval")
	r.Header.Set("Connection", "Step-Up-User, X-Approval")
	passed(t, p.send(r))
	arrivals := w.upstream.arrivals("/auto/hygiene")
	if len(arrivals) != 1 {
		t.Fatalf("the application saw %d requests", len(arrivals))
	}
	for name := range arrivals[0].header {
		folded := strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
		if strings.HasPrefix(folded, "step-up") {
			t.Errorf("the application saw %s", name)
		}
	}
	if got := arrivals[0].header.Values("Cookie"); len(got) != 1 || strings.Contains(got[0], "step_up") ||
		!strings.Contains(got[0], "app=1") || !strings.Contains(got[0], "theme=dark") {
		t.Errorf("the application saw the cookies %q, want its own", got)
	}
}

// testHeaders has forged headers of the names that the gate sets.
func (w *world) testHeaders(t *testing.T) {
	p := w.person(t)
	r := p.request("POST", "/headers/x", "x")
	d := p.approved(r)
	passed(t, p.send(p.mine(r, "Step-Up-User: forged", "Step-Up-UUID: forged", "step_up_user: forged", "Connection: Step-Up-User, Step-Up-UUID")))
	arrivals := p.arrived()
	if len(arrivals) != 1 {
		t.Fatalf("the application saw %d requests, want 1", len(arrivals))
	}
	h := arrivals[0].header
	for name, want := range map[string]string{
		"Step-Up-User": p.name, "Step-Up-Uuid": p.uuid, "Step-Up-Approval": d.Approval.ID, "Step_up_user": "",
	} {
		if got := strings.Join(h.Values(name), "|"); got != want {
			t.Errorf("the application saw %s %q, want %q", name, got, want)
		}
	}
	if _, err := time.Parse(time.RFC3339, h.Get("Step-Up-Time")); err != nil {
		t.Errorf("the application saw Step-Up-Time %q", h.Get("Step-Up-Time"))
	}
}

// testConflict asks for two things at once, in one session and in another one
// of the same user, who must not learn what the first one asked.
