package caddymodule

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// anyRoom is room for any body.
func anyRoom(int64) bool { return true }

const formType = "application/x-www-form-urlencoded"

// withVar gives a request a variable, as Caddy's server does.
func withVar(r *http.Request, name string, value any) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{name: value}))
}

func TestIsOurs(t *testing.T) {
	for _, tt := range []struct {
		name string
		want bool
	}{
		{"Step-Up-Session", true},
		{"Step-Up-", true},
		{"step-up-session", true},
		{"STEP-UP-ANYTHING", true},
		{"Step_up_session", true},
		{"Step.up.session", true},
		{"Step-Up_Session", true},
		{"sTeP.uP_session", true},
		{"Step-Up.Restart", true},
		{"Step-Up", false},
		{"Step-Upper", false},
		{"Stepup-Session", false},
		{"X-Step-Up-Session", false},
		{"Step--Up-Session", false},
		{"Cookie", false},
		{"", false},
	} {
		if got := isOurs(tt.name); got != tt.want {
			t.Errorf("isOurs(%q) = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestTakeSignals(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   http.Header
		want signals
	}{
		{"nothing", http.Header{}, signals{wait: -1}},
		{
			"all",
			http.Header{"Step-Up-Session": {"s"}, "Step-Up-Approval": {"h"}, "Step-Up-Restart": {"r"}, "Step-Up-Status": {"7"}, "Prefer": {"respond-async, wait=3"}},
			signals{session: "s", handle: "h", restart: "r", status: true, statusWait: 7 * time.Second, respondAsync: true, wait: 3 * time.Second},
		},
		{"the first of several", http.Header{"Step-Up-Session": {"a", "b"}}, signals{session: "a", wait: -1}},
		{"a status at once", http.Header{"Step-Up-Status": {"0"}}, signals{status: true, wait: -1}},
		{"an empty status is a status", http.Header{"Step-Up-Status": {""}}, signals{status: true, wait: -1}},
		{"a status that is no number is answered at once", http.Header{"Step-Up-Status": {"soon"}}, signals{status: true, wait: -1}},
		{"a negative status is answered at once", http.Header{"Step-Up-Status": {"-5"}}, signals{status: true, wait: -1}},
		{"a status is not held for longer than a minute", http.Header{"Step-Up-Status": {"61"}}, signals{status: true, statusWait: time.Minute, wait: -1}},
		{
			"aliases are not read",
			http.Header{"Step_up_session": {"s"}, "Step.up.approval": {"h"}, "Step-Up_Restart": {"r"}, "Step_up_status": {"1"}, "step-up-status": {"1"}},
			signals{wait: -1},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{Header: tt.in.Clone()}
			if diff := cmp.Diff(tt.want, takeSignals(r), cmp.AllowUnexported(signals{})); diff != "" {
				t.Errorf("signals differ (-want +got):\n%s", diff)
			}
		})
	}
}

// A client could tell the application that it passed the gate, in a header
// that CGI, WSGI or a Java server read as the gate's.
func TestTakeSignals_removesEveryAliasOfItsHeaders(t *testing.T) {
	r := &http.Request{Header: http.Header{
		"Step-Up-Session":   {"a", "b"},
		"Step-Up-State":     {"approved"},
		"Step-Up-Status":    {"1"},
		"Step-Up-Approval":  {"x"},
		"Step-Up-Unheard":   {"x"},
		"Step_up_user":      {"x", "y"},
		"STEP_UP_USER":      {"x"},
		"Step.Up.User":      {"x"},
		"Step-Up_user":      {"x"},
		"step-up-user":      {"x"},
		"X-Step-Up-User":    {"kept"},
		"Step-Upwards":      {"kept"},
		"Cookie":            {"kept"},
		"Prefer":            {"kept"},
		"Sec-Fetch-Site":    {"kept", "kept"},
		"X-Forwarded-Proto": {"kept"},
	}}
	takeSignals(r)
	want := http.Header{
		"X-Step-Up-User":    {"kept"},
		"Step-Upwards":      {"kept"},
		"Cookie":            {"kept"},
		"Prefer":            {"kept"},
		"Sec-Fetch-Site":    {"kept", "kept"},
		"X-Forwarded-Proto": {"kept"},
	}
	if diff := cmp.Diff(want, r.Header); diff != "" {
		t.Errorf("headers differ (-want +got):\n%s", diff)
	}
}

// A proxy behind drops what Connection names (RFC 9110 §7.6.1): a client must
// not choose among the headers that the gate sets, nor take away what was
// approved.
func TestTakeSignals_removesMentionsOfItsHeadersInConnection(t *testing.T) {
	for _, tt := range []struct{ in, want []string }{
		{nil, nil},
		{[]string{"close"}, []string{"close"}},
		{[]string{"keep-alive, X-Hop"}, []string{"keep-alive"}},
		{[]string{"Content-Type, X-HTTP-Method-Override, Cookie, close"}, []string{"close"}},
		{[]string{"Step-Up-User"}, nil},
		{[]string{"close, Step-Up-User"}, []string{"close"}},
		{[]string{"step-up-user,close,STEP_UP_UUID", "Step.Up.Time , TE"}, []string{"close, TE"}},
		{[]string{", ,Step-Up-User,,"}, nil},
	} {
		r := &http.Request{Header: http.Header{}}
		if tt.in != nil {
			r.Header["Connection"] = slices.Clone(tt.in)
		}
		takeSignals(r)
		if diff := cmp.Diff(tt.want, r.Header["Connection"]); diff != "" {
			t.Errorf("%q: Connection differs (-want +got):\n%s", tt.in, diff)
		}
		if _, ok := r.Header["Connection"]; ok != (tt.want != nil) {
			t.Errorf("%q: the header is there: %v", tt.in, ok)
		}
	}
}

// Trailers come after everything that was decided.
func TestTakeSignals_removesTrailers(t *testing.T) {
	r := &http.Request{
		Header:  http.Header{"Trailer": {"Step-Up-User"}},
		Trailer: http.Header{"Step-Up-User": nil},
	}
	takeSignals(r)
	if r.Trailer != nil || len(r.Header) != 0 {
		t.Errorf("trailer is %v, headers are %v: want none", r.Trailer, r.Header)
	}
}

func TestTakePreferences(t *testing.T) {
	const none = time.Duration(-1)
	for _, tt := range []struct {
		in    []string
		async bool
		wait  time.Duration
	}{
		{nil, false, none},
		{[]string{""}, false, none},
		{[]string{"respond-async"}, true, none},
		{[]string{"Respond-Async"}, true, none},
		{[]string{"respond-async; x=1"}, true, none},
		{[]string{`respond-async=""`}, true, none}, // RFC 7240 §2: the same as without a value
		{[]string{"wait=10"}, false, 10 * time.Second},
		{[]string{"wait=0"}, false, 0},
		{[]string{`wait="10"`}, false, 10 * time.Second},
		{[]string{"wait = 10"}, false, 10 * time.Second}, // RFC 7240 §2: BWS
		{[]string{"WAIT=10"}, false, 10 * time.Second},
		{[]string{"respond-async, wait=10"}, true, 10 * time.Second},
		{[]string{"wait=10,respond-async"}, true, 10 * time.Second},
		{[]string{"wait=10;x=y, respond-async;z"}, true, 10 * time.Second},
		{[]string{"respond-async", "wait=10"}, true, 10 * time.Second},
		{[]string{"wait=10, wait=20"}, false, 10 * time.Second}, // RFC 7240 §2: the first counts
		{[]string{"wait=10", "wait=0"}, false, 10 * time.Second},
		{[]string{"return=minimal; foo=wait, handling=lenient"}, false, none},
		{[]string{"return=minimal; wait=10"}, false, none},
		{[]string{"respond-asynchronously, xwait=1"}, false, none},
		{[]string{"wait"}, false, none},
		{[]string{"wait="}, false, none},
		{[]string{"wait=-1"}, false, none},
		{[]string{"wait=1.5"}, false, none},
		{[]string{"wait=4294967295"}, false, 4294967295 * time.Second},
		{[]string{"wait=4294967296"}, false, none},
		{[]string{",;=,, ;wait=1"}, false, none},
	} {
		s := signals{wait: none}
		s.takePreferences(tt.in)
		if s.respondAsync != tt.async || s.wait != tt.wait {
			t.Errorf("%q: respond-async %v, wait %v; want %v, %v", tt.in, s.respondAsync, s.wait, tt.async, tt.wait)
		}
	}
}

func TestCutControl(t *testing.T) {
	const control = "step_up=restart&step_up_approval=id.key"
	for _, tt := range []struct{ query, rest, control string }{
		{"", "", ""},
		{"a=b", "a=b", ""},
		{control, "", control},
		{"a=b&" + control, "a=b", control},
		{"&" + control, "", control},
		{"a=b&&" + control, "a=b&", control},
		{control + "&" + control, control, control},
		{"a=b&" + control + "&c", "a=b&" + control + "&c", ""},
		{"my_" + control, "my_" + control, ""},
		{control + "&my_step_up=y", control + "&my_step_up=y", ""},
		{"step_up=x", "step_up=x", ""},
	} {
		rest, got := cutControl(tt.query)
		if rest != tt.rest || got != tt.control {
			t.Errorf("cutControl(%q) = %q, %q; want %q, %q", tt.query, rest, got, tt.rest, tt.control)
		}
	}
}

// rewritten is a request that was rewritten on its way to the gate.
func rewritten(original, target string) *http.Request {
	r := httptest.NewRequest("GET", original, nil)
	before := *r
	changed, err := url.ParseRequestURI(target)
	if err != nil {
		panic(err)
	}
	r.URL = changed
	return r.WithContext(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, before))
}

// The client's link is to its own URL. What is behind it is the same request
// with and without the control, whatever a rewrite has made of it.
func TestTakeControl_afterRewrite(t *testing.T) {
	const control = "step_up=cancel&step_up_approval=id.key"
	for _, tt := range []struct{ name, target, want string }{
		{"the query is left", "/index.php?a=b&" + control, "a=b"},
		{"something is put in front", "/index.php?page=1&a=b&" + control, "page=1&a=b"},
		{"something is put behind", "/index.php?a=b&" + control + "&page=1", "a=b&page=1"},
		{"the query is dropped", "/index.php", ""},
		{"the query is replaced", "/index.php?page=1", "page=1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := rewritten("/transfers?a=b&"+control, tt.target)
			var s signals
			if err := s.takeControl(r); err != nil {
				t.Fatal(err)
			}
			if s.action != controlCancel || s.handle != "id.key" {
				t.Errorf("got action %q, handle %q", s.action, s.handle)
			}
			if r.URL.RawQuery != tt.want {
				t.Errorf("query is %q, want %q", r.URL.RawQuery, tt.want)
			}
			if got := originalURL(r).RawQuery; got != "a=b&"+control {
				t.Errorf("the client's query has become %q", got)
			}
		})
	}
}

// A control that only a rewrite has made was not sent by the page.
func TestTakeControl_leavesWhatARewriteAdds(t *testing.T) {
	const control = "step_up=cancel&step_up_approval=id.key"
	r := rewritten("/transfers?a=b", "/index.php?"+control)
	var s signals
	if err := s.takeControl(r); err != nil {
		t.Fatal(err)
	}
	if s.action != "" || r.URL.RawQuery != control {
		t.Errorf("got action %q, and left the query %q", s.action, r.URL.RawQuery)
	}
}

// What a page's link adds to a query is what is cut off again.
func TestControlLink_isTakenBack(t *testing.T) {
	for _, query := range []string{"", "a=b", "a=%26&&b", "step_up=cancel", "step_up=cancel&step_up_approval=mine", "?", "a=b&"} {
		link := controlLink(query, controlRestart, "id.key-1_2")
		r := httptest.NewRequest("GET", "http://bank.example/transfers"+link, nil)
		var s signals
		if err := s.takeControl(r); err != nil {
			t.Fatal(err)
		}
		if s.action != controlRestart || s.handle != "id.key-1_2" || s.restart != "id" {
			t.Errorf("%q: got action %q, handle %q, restart %q", link, s.action, s.handle, s.restart)
		}
		if r.URL.RawQuery != query {
			t.Errorf("%q: query is %q afterwards, want %q", link, r.URL.RawQuery, query)
		}
	}
}

func TestTakeControl_fromForm(t *testing.T) {
	longest := "step_up=continue&step_up_approval=" + strings.Repeat("x", 128)
	if len(longest) > maxControl {
		t.Fatalf("the longest control has %d bytes, and %d are read", len(longest), maxControl)
	}
	for _, tt := range []struct {
		body string
		want signals
	}{
		{"step_up=continue&step_up_approval=id.key", signals{action: "continue", handle: "id.key"}},
		{"step_up=cancel&step_up_approval=id.key", signals{action: "cancel", handle: "id.key"}},
		{"step_up=restart&step_up_approval=id.key", signals{action: "restart", handle: "id.key", restart: "id"}},
		{longest, signals{action: "continue", handle: strings.Repeat("x", 128)}},
	} {
		r := httptest.NewRequest("POST", "http://bank.example/", strings.NewReader(tt.body))
		r.Header.Set("Content-Type", formType)
		var s signals
		if err := s.takeControl(r); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, s, cmp.AllowUnexported(signals{})); diff != "" {
			t.Errorf("%q: signals differ (-want +got):\n%s", tt.body, diff)
		}
	}
}

// A request that only resembles a control is the application's: it must arrive
// there, or be approved, byte for byte.
func TestTakeControl_leavesNearMissesAlone(t *testing.T) {
	const control = "step_up=cancel&step_up_approval=id.key"
	nearMisses := []string{
		"",
		"step_up",
		"step_up=",
		"step_up=cancel",
		"step_up=cancel&step_up_approval=",
		"step_up=cancel&step_up_approval=" + strings.Repeat("x", 129),
		"step_up=cancel&step_up_approval=a/b",
		"step_up=cancel&step_up_approval=a%2Eb",
		"step_up=cancel&step_up_approval=a+b",
		"step_up=cancel&step_up_approval=a&b=c",
		"step_up=cancel&step_up_approval=a&",
		"step_up=cancel&x=y&step_up_approval=a",
		"step_up=approve&step_up_approval=a",
		"step_up=Cancel&step_up_approval=a",
		"STEP_UP=cancel&STEP_UP_APPROVAL=a",
		"step_up_approval=a&step_up=cancel",
		"step%5Fup=cancel&step_up_approval=a",
		"my_step_up=cancel&step_up_approval=a",
		"step_up=cancel;step_up_approval=a",
	}
	form := http.Header{"Content-Type": {formType}}
	type miss struct {
		name, method, query, body string
		header                    http.Header
		length                    int64 // of the body, 0 for its own
	}
	misses := []miss{
		{"query of a POST", "POST", control, "amount=1", form, 0},
		{"query of a DELETE", "DELETE", control, "", nil, 0},
		{"body of a GET", "GET", "", control, form, 0},
		{"body of a PUT", "PUT", "", control, form, 0},
		{"body of a PATCH", "PATCH", "", control, form, 0},
		{"body without a type", "POST", "", control, nil, 0},
		{"body of text", "POST", "", control, http.Header{"Content-Type": {"text/plain"}}, 0},
		{"body with a charset", "POST", "", control, http.Header{"Content-Type": {formType + "; charset=utf-8"}}, 0},
		{"body of unknown length", "POST", "", control, form, -1},
		{"control behind a field", "POST", "", "amount=1&" + control, form, 0},
		{"control with a newline", "POST", "", control + "\n", form, 0},
		{"newline before the control", "POST", "", "\n" + control, form, 0},
		{"long form", "POST", "", control + strings.Repeat("x", maxControl), form, 0},
		{"form of the greatest length", "POST", "", strings.Repeat("x", maxControl), form, 0},
	}
	for _, query := range nearMisses {
		misses = append(misses,
			miss{"query " + query, "GET", query, "", nil, 0},
			miss{"query a=b&" + query, "HEAD", "a=b&" + query, "", nil, 0},
			miss{"form " + query, "POST", "", query, form, 0})
	}
	for _, tt := range misses {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, "http://bank.example/", strings.NewReader(tt.body))
			r.URL.RawQuery = tt.query
			if tt.header != nil {
				r.Header = tt.header.Clone()
			}
			if tt.length != 0 {
				r.ContentLength = tt.length
			}
			length := r.ContentLength
			var s signals
			if err := s.takeControl(r); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(signals{}, s, cmp.AllowUnexported(signals{})); diff != "" {
				t.Errorf("signals differ (-want +got):\n%s", diff)
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			if r.URL.RawQuery != tt.query || string(body) != tt.body || r.ContentLength != length {
				t.Errorf("request has changed to query %q, body %q, length %d", r.URL.RawQuery, body, r.ContentLength)
			}
		})
	}
}

// brokenBody is a body whose sender goes away, and which knows when it is
// closed.
type brokenBody struct {
	io.Reader
	err    error
	closed bool
}

func (b *brokenBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = b.err
	}
	return n, err
}

func (b *brokenBody) Close() error { b.closed = true; return nil }

func TestTakeControl_refusesBodyThatBreaksOff(t *testing.T) {
	r := httptest.NewRequest("POST", "http://bank.example/", nil)
	r.Header.Set("Content-Type", formType)
	r.ContentLength = 38
	r.Body = &brokenBody{Reader: strings.NewReader("step_up=cancel&step_up_approval=id"), err: io.ErrUnexpectedEOF}
	var s signals
	if err := s.takeControl(r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got error %v, want %v", err, io.ErrUnexpectedEOF)
	}
	if s.action != "" || s.handle != "" {
		t.Error("took a control from half a body")
	}
}

func TestTakeControl_closesTheClientsBody(t *testing.T) {
	r := httptest.NewRequest("POST", "http://bank.example/", nil)
	r.Header.Set("Content-Type", formType)
	body := &brokenBody{Reader: strings.NewReader("amount=1"), err: io.EOF}
	r.ContentLength, r.Body = 8, body
	var s signals
	if err := s.takeControl(r); err != nil {
		t.Fatal(err)
	}
	if err := r.Body.Close(); err != nil || !body.closed {
		t.Errorf("closing the body returned %v, and closed the client's: %v", err, body.closed)
	}
}

func TestReadBody(t *testing.T) {
	const limit = 8
	for _, tt := range []struct {
		name, body string
		length     int64
		want       error
	}{
		{"empty", "", 0, nil},
		{"exactly at the limit", "12345678", 8, nil},
		{"exactly at the limit, chunked", "12345678", -1, nil},
		{"announced beyond the limit", "123456789", 9, errBodyTooLarge},
		{"announced beyond the limit and not sent", "", 9, errBodyTooLarge},
		{"chunked beyond the limit", "123456789", -1, errBodyTooLarge},
		{"longer than announced", "123456789", 8, errBodyTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "http://bank.example/", strings.NewReader(tt.body))
			r.ContentLength = tt.length
			got, err := readBody(r, limit, anyRoom)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got error %v, want %v", err, tt.want)
			}
			if tt.want != nil {
				if got != nil {
					t.Errorf("returned %q with its error", got)
				}
				return
			}
			if string(got) != tt.body {
				t.Errorf("read %q, want %q", got, tt.body)
			}
			sent, err := io.ReadAll(r.Body)
			if err != nil || string(sent) != tt.body || r.ContentLength != int64(len(tt.body)) {
				t.Errorf("sends on %q of length %d (error %v), want %q", sent, r.ContentLength, err, tt.body)
			}
		})
	}
}

func TestReadBody_stopsReadingBeyondTheLimit(t *testing.T) {
	endless := &brokenBody{Reader: io.LimitReader(neverEnding{}, 1<<40), err: io.EOF}
	r := httptest.NewRequest("POST", "http://bank.example/", nil)
	r.Body, r.ContentLength = endless, -1
	if _, err := readBody(r, 1<<10, anyRoom); !errors.Is(err, errBodyTooLarge) {
		t.Errorf("got error %v, want %v", err, errBodyTooLarge)
	}
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

// The request_body directive may have bounded the body below max_body.
func TestReadBody_knowsTheServersOwnLimit(t *testing.T) {
	r := httptest.NewRequest("POST", "http://bank.example/", nil)
	r.Body = http.MaxBytesReader(httptest.NewRecorder(), io.NopCloser(strings.NewReader("12345678")), 4)
	r.ContentLength = -1
	if _, err := readBody(r, 100, anyRoom); !errors.Is(err, errBodyTooLarge) {
		t.Errorf("got error %v, want %v", err, errBodyTooLarge)
	}
}

// Half a body must be neither shown for approval nor sent on.
func TestReadBody_refusesBodyThatBreaksOff(t *testing.T) {
	r := httptest.NewRequest("POST", "http://bank.example/", nil)
	r.Body = &brokenBody{Reader: strings.NewReader("amount=1"), err: io.ErrUnexpectedEOF}
	r.ContentLength = 10
	body, err := readBody(r, 100, anyRoom)
	if !errors.Is(err, io.ErrUnexpectedEOF) || body != nil {
		t.Errorf("got %q and error %v, want no body and %v", body, err, io.ErrUnexpectedEOF)
	}
}

func TestSetBody(t *testing.T) {
	for _, tt := range []struct {
		method, body, length string
	}{
		{"POST", "amount=1", "8"},
		{"GET", "amount=1", "8"},
		{"POST", "", "0"},
		{"PUT", "", "0"},
		{"PATCH", "", "0"},
		{"GET", "", ""},
		{"DELETE", "", ""},
	} {
		t.Run(tt.method+" "+tt.body, func(t *testing.T) {
			old := &brokenBody{Reader: strings.NewReader("something else"), err: io.EOF}
			r := httptest.NewRequest(tt.method, "http://bank.example/", nil)
			r.Body, r.ContentLength = old, -1
			r.TransferEncoding = []string{"chunked"}
			r.Header = http.Header{"Transfer-Encoding": {"chunked"}, "Content-Length": {"14"}, "X-Kept": {"1"}}
			setBody(r, []byte(tt.body))
			got, err := io.ReadAll(r.Body)
			if err != nil || string(got) != tt.body {
				t.Errorf("body is %q (error %v), want %q", got, err, tt.body)
			}
			want := http.Header{"X-Kept": {"1"}}
			if tt.length != "" {
				want["Content-Length"] = []string{tt.length}
			}
			if diff := cmp.Diff(want, r.Header); diff != "" {
				t.Errorf("headers differ (-want +got):\n%s", diff)
			}
			if r.ContentLength != int64(len(tt.body)) || r.TransferEncoding != nil {
				t.Errorf("length %d, encoding %q: want %d and none", r.ContentLength, r.TransferEncoding, len(tt.body))
			}
			if !old.closed {
				t.Error("the body before is not closed")
			}
		})
	}
}

// transfer is the request that the fingerprints are about.
func transfer() *http.Request {
	r := httptest.NewRequest("POST", "http://bank.example/transfers/1?to=alice", nil)
	r.Header = http.Header{
		"Content-Type":     {formType},
		"Content-Encoding": {"identity"},
		"Cookie":           {"a=1"},
	}
	return r
}

// An approval for one request must not be found by another.
func TestFingerprint_changesWithEveryPartOfTheRequest(t *testing.T) {
	body := []byte("amount=100")
	base := fingerprint(transfer(), body)
	if !bytes.Equal(base, fingerprint(transfer(), slices.Clone(body))) {
		t.Fatal("the same request has two fingerprints")
	}
	seen := map[string]string{string(base): "the request itself"}
	distinct := func(name string, got []byte) {
		t.Helper()
		if other, ok := seen[string(got)]; ok {
			t.Errorf("%s has the fingerprint of %s", name, other)
		}
		seen[string(got)] = name
	}
	for name, change := range map[string]func(r *http.Request){
		"method":                     func(r *http.Request) { r.Method = "PUT" },
		"method in another case":     func(r *http.Request) { r.Method = "post" },
		"scheme":                     func(r *http.Request) { r.TLS = new(tls.ConnectionState) },
		"host":                       func(r *http.Request) { r.Host = "other.example" },
		"port":                       func(r *http.Request) { r.Host = "bank.example:80" },
		"path":                       func(r *http.Request) { r.URL.Path = "/transfers/2" },
		"path with a slash":          func(r *http.Request) { r.URL.Path = "/transfers/1/" },
		"path with an encoded slash": func(r *http.Request) { r.URL.RawPath = "/transfers%2F1" },
		"path with an encoded letter": func(r *http.Request) {
			r.URL.RawPath = "/transfer%73/1"
		},
		"query":                     func(r *http.Request) { r.URL.RawQuery = "to=bob" },
		"query encoded otherwise":   func(r *http.Request) { r.URL.RawQuery = "to=%61lice" },
		"no query":                  func(r *http.Request) { r.URL.RawQuery = "" },
		"an empty query":            func(r *http.Request) { r.URL.RawQuery, r.URL.ForceQuery = "", true },
		"no content type":           func(r *http.Request) { r.Header.Del("Content-Type") },
		"an empty content type":     func(r *http.Request) { r.Header.Set("Content-Type", "") },
		"content type":              func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") },
		"a second content type":     func(r *http.Request) { r.Header.Add("Content-Type", "text/plain") },
		"content types in one line": func(r *http.Request) { r.Header.Set("Content-Type", formType+", text/plain") },
		"content encoding":          func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") },
		"no content encoding":       func(r *http.Request) { r.Header.Del("Content-Encoding") },
		"content range":             func(r *http.Request) { r.Header.Set("Content-Range", "bytes 0-9/10") },
		"method override":           func(r *http.Request) { r.Header.Set("X-HTTP-Method-Override", "DELETE") },
		"method override, short":    func(r *http.Request) { r.Header.Set("X-HTTP-Method", "DELETE") },
		"method override, shorter":  func(r *http.Request) { r.Header.Set("X-Method-Override", "DELETE") },
		"URL override":              func(r *http.Request) { r.Header.Set("X-Original-URL", "/admin") },
		"URL override, another":     func(r *http.Request) { r.Header.Set("X-Rewrite-URL", "/admin") },
		"values of two headers swap": func(r *http.Request) {
			r.Header["Content-Type"], r.Header["Content-Encoding"] = []string{"identity"}, []string{formType}
		},
	} {
		r := transfer()
		change(r)
		distinct(name, fingerprint(r, body))
	}
	distinct("body", fingerprint(transfer(), []byte("amount=900")))
	distinct("a longer body", fingerprint(transfer(), []byte("amount=1000")))
	distinct("an empty body", fingerprint(transfer(), nil))

	r := transfer()
	r.Header.Set("Cookie", "a=2")
	r.Header.Set("User-Agent", "another")
	if !bytes.Equal(base, fingerprint(r, body)) {
		t.Error("a header that changes nothing changes the fingerprint: the approval is lost when a cookie changes")
	}
}

// fields is a request by its parts, in the order of the fingerprint.
type fields struct {
	method, host, path, query string
	contentType, encoding     []string
	body                      string
}

func (f fields) fingerprint() []byte {
	r := &http.Request{
		Method: f.method,
		Host:   f.host,
		URL:    &url.URL{Path: f.path, RawQuery: f.query},
		Header: http.Header{},
	}
	if f.contentType != nil {
		r.Header["Content-Type"] = f.contentType
	}
	if f.encoding != nil {
		r.Header["Content-Encoding"] = f.encoding
	}
	return fingerprint(r, []byte(f.body))
}

// Parts that were only joined would let bytes wander: POST to a host "ab" and a
// path "c" is not POST to "a" and "bc".
func TestFingerprint_changesWhenBytesMoveToTheNextPart(t *testing.T) {
	all := []fields{
		{"AB", "ab", "ab", "ab", []string{"ab"}, []string{"ab"}, "ab"},
		{"A", "Bab", "ab", "ab", []string{"ab"}, []string{"ab"}, "ab"},
		{"ABa", "b", "ab", "ab", []string{"ab"}, []string{"ab"}, "ab"},
		{"AB", "a", "bab", "ab", []string{"ab"}, []string{"ab"}, "ab"},
		{"AB", "aba", "b", "ab", []string{"ab"}, []string{"ab"}, "ab"},
		{"AB", "ab", "a", "bab", []string{"ab"}, []string{"ab"}, "ab"},
		{"AB", "ab", "aba", "b", []string{"ab"}, []string{"ab"}, "ab"},
		{"AB", "ab", "ab?ab", "", []string{"ab"}, []string{"ab"}, "ab"},
		{"AB", "ab", "ab", "a", []string{"bab"}, []string{"ab"}, "ab"},
		{"AB", "ab", "ab", "aba", []string{"b"}, []string{"ab"}, "ab"},
		{"AB", "ab", "ab", "ab", []string{"a"}, []string{"bab"}, "ab"},
		{"AB", "ab", "ab", "ab", []string{"a", "b"}, []string{"ab"}, "ab"},
		{"AB", "ab", "ab", "ab", []string{"ab", "ab"}, nil, "ab"},
		{"AB", "ab", "ab", "ab", nil, []string{"ab", "ab"}, "ab"},
		{"AB", "ab", "ab", "ab", []string{"ab", ""}, []string{"ab"}, "ab"},
		{"AB", "ab", "ab", "ab", []string{"ab"}, []string{"a"}, "bab"},
		{"AB", "ab", "ab", "ab", []string{"ab"}, []string{"aba"}, "b"},
		{"AB", "ab", "ab", "ab", []string{"ab"}, nil, "abab"},
		{"AB", "ab", "ab", "ab", []string{"ab"}, []string{"abab"}, ""},
	}
	seen := make(map[string]fields)
	for _, f := range all {
		if other, ok := seen[string(f.fingerprint())]; ok {
			t.Errorf("%q has the fingerprint of %q", f, other)
		}
		seen[string(f.fingerprint())] = f
	}
}

// FuzzFingerprint cuts the same bytes into the parts of a request in two ways:
// only the same cuts may give the same fingerprint.
func FuzzFingerprint(f *testing.F) {
	f.Add("POSTbank/transfersto=alicetext/plaingzipamount=1", []byte{4, 4, 10, 8, 1, 10, 1, 4}, []byte{4, 4, 10, 8, 1, 10, 0})
	f.Add("aaaaaaaa", []byte{1, 1, 1, 1, 1, 1, 1, 1}, []byte{1, 1, 1, 1, 0, 1, 1})
	f.Add("\x00\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x01b", []byte{9, 9}, []byte{0, 18})
	f.Fuzz(func(t *testing.T, data string, cuts, otherCuts []byte) {
		one, other := cut(data, cuts), cut(data, otherCuts)
		same := fmt.Sprintf("%q", one) == fmt.Sprintf("%q", other)
		if bytes.Equal(one.fingerprint(), other.fingerprint()) != same {
			t.Fatalf("requests %q and %q: the same request is %v, the same fingerprint is %v", one, other, same, !same)
		}
	})
}

// cut makes a request out of data. Each cut says how long the next part is.
func cut(data string, cuts []byte) fields {
	number := func() int {
		if len(cuts) == 0 {
			return 0
		}
		n := int(cuts[0])
		cuts = cuts[1:]
		return n
	}
	part := func() string {
		n := min(number(), len(data))
		out := data[:n]
		data = data[n:]
		return out
	}
	several := func() []string {
		var out []string
		for range number() % 4 {
			out = append(out, part())
		}
		return out
	}
	f := fields{method: part(), host: part(), path: part(), query: part(), contentType: several(), encoding: several()}
	f.body = data
	return f
}

func TestRawQuery(t *testing.T) {
	for _, tt := range []struct{ target, want string }{
		{"/", ""},
		{"/?", "?"},
		{"/?a=b", "?a=b"},
		{"/??", "??"},
		{"/?a=%20&&b", "?a=%20&&b"},
	} {
		if got := rawQuery(httptest.NewRequest("GET", tt.target, nil)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.target, got, tt.want)
		}
	}
}

func TestPrefersHTML(t *testing.T) {
	for _, tt := range []struct {
		accept []string
		want   bool
	}{
		{nil, false},
		{[]string{""}, false},
		{[]string{"text/html"}, true},
		{[]string{"TEXT/HTML"}, true},
		{[]string{"application/xhtml+xml"}, true},
		{[]string{"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}, true},
		{[]string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, true},
		{[]string{"application/xml;q=0.9", "text/html"}, true},
		{[]string{"text/html;q=0.5, application/json"}, false},
		{[]string{"application/json, text/html;q=0.9"}, false},
		{[]string{"application/json;q=0.5, text/html;q=0.9"}, true},
		{[]string{"text/html;level=1;q=0.9, */*;q=0.1"}, true},
		{[]string{"text/html; Q=0.1, */*; q=0.2"}, false},
		{[]string{"*/*"}, false},
		{[]string{"text/*"}, false},
		{[]string{"application/json"}, false},
		{[]string{"text/html;q=0"}, false},
		{[]string{"text/html;q=NaN"}, false},
		{[]string{"text/html;q=2"}, false},
		{[]string{"text/html;q=-1"}, false},
		{[]string{"text/html;q=x"}, false},
		{[]string{"text/htmlx"}, false},
	} {
		if got := prefersHTML(tt.accept); got != tt.want {
			t.Errorf("prefersHTML(%q) = %v, want %v", tt.accept, got, tt.want)
		}
	}
}

func TestIsNavigation(t *testing.T) {
	for _, tt := range []struct {
		method, mode, accept string
		want                 bool
	}{
		{"GET", "navigate", "*/*", true},
		{"HEAD", "navigate", "", true},
		{"POST", "navigate", "", true},
		{"PUT", "navigate", "text/html", false},
		{"DELETE", "", "text/html", false},
		{"GET", "cors", "text/html", false},
		{"GET", "no-cors", "text/html", false},
		{"POST", "same-origin", "text/html", false},
		{"GET", "Navigate", "text/html", false},
		{"GET", "", "text/html", true},
		{"POST", "", "text/html", true},
		{"GET", "", "*/*", false},
		{"GET", "", "", false},
	} {
		r := httptest.NewRequest(tt.method, "http://bank.example/", nil)
		if tt.mode != "" {
			r.Header.Set("Sec-Fetch-Mode", tt.mode)
		}
		if tt.accept != "" {
			r.Header.Set("Accept", tt.accept)
		}
		if got := isNavigation(r); got != tt.want {
			t.Errorf("%s with mode %q and Accept %q: got %v, want %v", tt.method, tt.mode, tt.accept, got, tt.want)
		}
	}
}

// Another site must not make somebody's phone ring, by whatever method.
func TestIsCrossSite(t *testing.T) {
	trusting := http.NewCrossOriginProtection()
	if err := trusting.AddTrustedOrigin("https://portal.example"); err != nil {
		t.Fatal(err)
	}
	nobody := http.NewCrossOriginProtection()
	for _, tt := range []struct {
		origins      *http.CrossOriginProtection
		site, origin string
		want         bool
	}{
		{nobody, "", "", false}, // no browser, or one that is too old to tell
		{nobody, "none", "", false},
		{nobody, "same-origin", "", false},
		{nobody, "same-origin", "http://bank.example:8080", false},
		{nobody, "same-site", "", true},
		{nobody, "cross-site", "", true},
		{nobody, "cross-site", "http://bank.example:8080", true},
		{nobody, "Same-Origin", "", true},
		{nobody, "unheard-of", "", true},
		{nobody, "", "http://bank.example:8080", false},
		{nobody, "", "null", true},
		{nobody, "", "http://bank.example", true}, // another port
		{nobody, "", "http://bank.example:8081", true},
		{nobody, "", "http://evil.example", true},
		{nobody, "", "http://bank.example:8080.evil.example", true},
		{nobody, "", "http://evil.example/?http://bank.example:8080", true},
		{nobody, "", "http://bank.example:8080@evil.example", true},
		{nobody, "", "bank.example:8080", true},
		{nobody, "", "%", true},
		{nobody, "cross-site", "https://portal.example", true},
		{trusting, "cross-site", "https://portal.example", false},
		{trusting, "", "https://portal.example", false},
		{trusting, "cross-site", "", true}, // nobody says that it is the portal
		{trusting, "cross-site", "null", true},
		{trusting, "cross-site", "http://portal.example", true},
		{trusting, "cross-site", "https://portal.example:444", true},
		{trusting, "cross-site", "https://portal.example.evil.example", true},
	} {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PURGE"} {
			r := httptest.NewRequest(method, "http://bank.example:8080/", nil)
			if tt.site != "" {
				r.Header.Set("Sec-Fetch-Site", tt.site)
			}
			if tt.origin != "" {
				r.Header.Set("Origin", tt.origin)
			}
			v := &visit{Handler: &Handler{origins: tt.origins}, r: r}
			if got := v.isCrossSite(); got != tt.want {
				t.Errorf("%s with Sec-Fetch-Site %q and Origin %q, portal trusted %v: got %v, want %v",
					method, tt.site, tt.origin, tt.origins == trusting, got, tt.want)
			}
			if r.Method != method {
				t.Errorf("the request's method has become %s", r.Method)
			}
		}
	}
}

// A preflight needs no approval. So nothing may pass for one that an
// application could take for a request that does something.
func TestIsPreflight(t *testing.T) {
	preflight := func(change func(r *http.Request)) *http.Request {
		r := httptest.NewRequest("OPTIONS", "http://bank.example/transfers", nil)
		r.Header.Set("Origin", "https://portal.example")
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "content-type")
		change(r)
		return r
	}
	if !isPreflight(preflight(func(*http.Request) {})) {
		t.Error("a browser's preflight is not taken for one")
	}
	for name, change := range map[string]func(r *http.Request){
		"another method":           func(r *http.Request) { r.Method = "POST" },
		"GET":                      func(r *http.Request) { r.Method = "GET" },
		"no origin":                func(r *http.Request) { r.Header.Del("Origin") },
		"no requested method":      func(r *http.Request) { r.Header.Del("Access-Control-Request-Method") },
		"a body":                   func(r *http.Request) { r.ContentLength = 1 },
		"a body of unknown length": func(r *http.Request) { r.ContentLength = -1 },
		"a chunked body":           func(r *http.Request) { r.TransferEncoding = []string{"chunked"} },
		"a content type":           func(r *http.Request) { r.Header.Set("Content-Type", formType) },
		"an overridden method":     func(r *http.Request) { r.Header.Set("X-HTTP-Method-Override", "POST") },
		"another overridden one":   func(r *http.Request) { r.Header.Set("X-HTTP-Method", "POST") },
		"a third overridden one":   func(r *http.Request) { r.Header.Set("X-Method-Override", "POST") },
		"an overridden URL":        func(r *http.Request) { r.Header.Set("X-Original-URL", "/admin") },
		"another overridden URL":   func(r *http.Request) { r.Header.Set("X-Rewrite-URL", "/admin") },
	} {
		if isPreflight(preflight(change)) {
			t.Errorf("%s: taken for a preflight, and let through", name)
		}
	}
}

func TestIsEarlyData(t *testing.T) {
	for _, tt := range []struct {
		name   string
		tls    *tls.ConnectionState
		header []string
		want   bool
	}{
		{"plain HTTP", nil, nil, false},
		{"after the handshake", &tls.ConnectionState{HandshakeComplete: true}, nil, false},
		{"during the handshake", &tls.ConnectionState{}, nil, true},
		{"a proxy says so", nil, []string{"1"}, true},
		{"a proxy before TLS says so", &tls.ConnectionState{HandshakeComplete: true}, []string{"1"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "http://bank.example/", nil)
			r.TLS = tt.tls
			if tt.header != nil {
				r.Header["Early-Data"] = tt.header
			}
			if got := isEarlyData(r); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// A browser that fetches ahead must not make a phone ring.
func TestIsPrefetch(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		want        bool
	}{
		{"Sec-Purpose", "prefetch", true},
		{"Sec-Purpose", "prefetch;prerender", true},
		{"Sec-Purpose", "Prefetch;anonymous-client-ip", true},
		{"Purpose", "prefetch", true},
		{"X-Moz", "prefetch", true},
		{"Sec-Purpose", "", false},
		{"Sec-Purpose", "something-else", false},
		{"X-Purpose", "prefetch", false},
	} {
		r := httptest.NewRequest("GET", "http://bank.example/", nil)
		r.Header.Set(tt.name, tt.value)
		if got := isPrefetch(r); got != tt.want {
			t.Errorf("%s: %s: got %v, want %v", tt.name, tt.value, got, tt.want)
		}
	}
}

func TestScheme(t *testing.T) {
	for _, tt := range []struct {
		name    string
		tls     bool
		trusted any
		proto   string
		want    string
	}{
		{"TLS", true, nil, "", "https"},
		{"plain", false, nil, "", "http"},
		{"a stranger's claim does not count", false, false, "https", "http"},
		{"a claim without a word on the proxy does not count", false, nil, "https", "http"},
		{"a trusted proxy with TLS", false, true, "https", "https"},
		{"a trusted proxy with TLS in capitals", false, true, "HTTPS", "https"},
		{"a trusted proxy without TLS", false, true, "http", "http"},
		{"a trusted proxy that says nothing", false, true, "", "http"},
		{"TLS to this gateway is TLS, whatever the proxy says", true, true, "http", "https"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := withVar(httptest.NewRequest("GET", "http://bank.example/", nil), caddyhttp.TrustedProxyVarKey, tt.trusted)
			if tt.tls {
				r.TLS = &tls.ConnectionState{HandshakeComplete: true}
			}
			if tt.proto != "" {
				r.Header.Set("X-Forwarded-Proto", tt.proto)
			}
			if got := scheme(r); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestClientIP(t *testing.T) {
	for _, tt := range []struct {
		name string
		ip   any
		want string
	}{
		{"IPv4", "192.0.2.1", "192.0.2.1"},
		{"IPv6", "2001:db8::1", "2001:db8::1"},
		{"IPv4 in IPv6 is IPv4", "::ffff:192.0.2.1", "192.0.2.1"},
		{"IPv6 without its zone", "fe80::1%eth0", "fe80::1"},
		{"a unix socket has none", "", "invalid IP"},
		{"unknown to Caddy", nil, "invalid IP"},
		{"with a port", "192.0.2.1:80", "invalid IP"},
		{"garbage", "localhost", "invalid IP"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := withVar(httptest.NewRequest("GET", "http://bank.example/", nil), caddyhttp.ClientIPVarKey, tt.ip)
			r.RemoteAddr = "198.51.100.7:1234" // the proxy's, which is not asked
			if got := clientIP(r).String(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestIsPlain(t *testing.T) {
	for _, tt := range []struct {
		listen []string
		tls    bool
		want   bool
	}{
		{[]string{":80"}, false, true},
		{[]string{"192.0.2.1:80"}, false, true},
		{[]string{"bank.example:80"}, false, true},
		{[]string{"[::]:80"}, false, true},
		{[]string{"localhost:80"}, false, false},
		{[]string{"127.0.0.1:80", "[::1]:80"}, false, false},
		{[]string{"127.0.0.1:80", ":80"}, false, true},
		{[]string{"unix//run/gate.sock"}, false, false},
		{[]string{"fd/3"}, false, false},
		{[]string{":443"}, true, false},
		{nil, false, false},
	} {
		s := &caddyhttp.Server{Listen: tt.listen}
		if tt.tls {
			s.TLSConnPolicies = caddytls.ConnectionPolicies{{}}
		}
		if got := isPlain(s); got != tt.want {
			t.Errorf("isPlain(%q, TLS %v) = %v, want %v", tt.listen, tt.tls, got, tt.want)
		}
	}
}

// An upgrade to h2c, or to anything else that is not WebSocket, is a tunnel for
// requests that the gate does not see.
func TestTakeSignals_letsOnlyWebSocketUpgrade(t *testing.T) {
	for upgrade, want := range map[string]bool{"websocket": true, "WebSocket": true, "h2c": false, "websocket, h2c": false, "TLS/1.0": false, "": false} {
		r := httptest.NewRequest("GET", "http://bank.example/", nil)
		r.Header.Set("Connection", "Upgrade, HTTP2-Settings")
		r.Header.Set("Upgrade", upgrade)
		r.Header.Set("HTTP2-Settings", "AAMAAABk")
		takeSignals(r)
		if got := r.Header.Get("Upgrade") != "" && r.Header.Get("Connection") == "Upgrade"; got != want {
			t.Errorf("%q: upgraded %t, want %t; %v", upgrade, got, want, r.Header)
		}
		if !want && len(r.Header) != 0 {
			t.Errorf("%q: left %v", upgrade, r.Header)
		}
	}
}

// Nothing that upgrades is a preflight.
func TestIsPreflight_neverUpgrades(t *testing.T) {
	r := httptest.NewRequest("OPTIONS", "http://bank.example/", nil)
	r.Header.Set("Origin", "https://portal.example")
	r.Header.Set("Access-Control-Request-Method", "POST")
	if !isPreflight(r) {
		t.Fatal("a preflight is not taken for one")
	}
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	if isPreflight(r) {
		t.Error("an upgrade passes as a preflight")
	}
}

// A value that the text shows, and that is no part of the request otherwise, is
// bound all the same.
func TestFingerprint_changesWithWhatIsShown(t *testing.T) {
	seen := make(map[string]bool)
	for _, shown := range [][]string{nil, {""}, {"1"}, {"10"}, {"1", "0"}, {"", "10"}} {
		seen[string(fingerprint(transfer(), nil, shown...))] = true
	}
	if len(seen) != 6 {
		t.Errorf("%d fingerprints of 6 requests", len(seen))
	}
}

func TestMeaningful_fitsTheRoomForFolding(t *testing.T) {
	for name := range meaningful {
		if len(name) > longestMeaningful || !isMeaningful(strings.ToUpper(strings.ReplaceAll(name, "-", "_"))) {
			t.Errorf("%s is not found in another spelling", name)
		}
	}
}

func TestCanonicalUser_isTheSameByTheShortWay(t *testing.T) {
	for c := range 0x80 {
		name := "kirsten" + string(rune(c)) + "7"
		want := norm.NFKC.String(cases.Fold().String(norm.NFKC.String(name)))
		if got, err := canonicalUser(name); err == nil && got != want || err != nil && c >= ' ' && c != 0x7f {
			t.Errorf("%q is %q, %v; want %q", name, got, err, want)
		}
	}
}
