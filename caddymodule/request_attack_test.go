package caddymodule

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func parseRaw(t *testing.T, raw string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// GET http:a and GET http:b have no path, but an opaque part, which a proxy
// sends on: two of them would be one request to matchers and the fingerprint.
func TestHasTarget_isAPathOnly(t *testing.T) {
	for line, want := range map[string]bool{
		"POST /transfers HTTP/1.1":                    true,
		"POST //transfers HTTP/1.1":                   true,
		"POST http://bank.example/transfers HTTP/1.1": true,
		"POST http:transfers/1?x=1 HTTP/1.1":          false,
		"OPTIONS * HTTP/1.1":                          false,
		"POST http://bank.example HTTP/1.1":           false,
		"POST http://bank.example?amount=1 HTTP/1.1":  false,
	} {
		if got := hasTarget(parseRaw(t, line+"\r\nHost: bank.example\r\n\r\n")); got != want {
			t.Errorf("%s: %t, want %t", line, got, want)
		}
	}
}

// RFC 8470 §5.1: multiple or invalid instances are as a single "1".
func TestIsEarlyData_takesInvalidValuesForOne(t *testing.T) {
	for _, values := range [][]string{{"0"}, {""}, {"1, 1"}, {"0", "1"}, {"?1"}} {
		r := httptest.NewRequest("GET", "http://bank.example/", nil)
		r.Header["Early-Data"] = values
		if !isEarlyData(r) {
			t.Errorf("Early-Data %q is let through", values)
		}
	}
}

// net/http reads "step_up =x" as our cookie.
func TestTakeCookies_withSpaceBeforeEqualsSign(t *testing.T) {
	for _, c := range []string{"__Host-step_up =x", "step_up\t=x"} {
		h := http.Header{"Cookie": {"a=1; " + c}}
		takeCookies(h, func(_, _ string) {})
		if got := h.Get("Cookie"); got != "a=1" {
			t.Errorf("%q is left", got)
		}
	}
}

// WSGI, CGI and PHP read X_HTTP_Method_Override as X-HTTP-Method-Override.
func TestIsPreflight_refusesAliases(t *testing.T) {
	for _, name := range []string{"X_http_method_override", "X_HTTP-Method-Override", "X.http.method.override", "X_original_url"} {
		r := httptest.NewRequest("OPTIONS", "http://bank.example/transfers?amount=1", nil)
		r.Header.Set("Origin", "https://portal.example")
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header[http.CanonicalHeaderKey(name)] = []string{"POST"}
		if isPreflight(r) {
			t.Errorf("%s passes without an approval", name)
		}
	}
}

func TestFingerprint_changesWithAliasesOfMeaningfulHeaders(t *testing.T) {
	plain, override := transfer(), transfer()
	override.Header["X_http_method_override"] = []string{"DELETE"}
	if bytes.Equal(fingerprint(plain, nil), fingerprint(override, nil)) {
		t.Error("an overridden method has the fingerprint of the request without")
	}
}

func TestTakeControl_takesTheLastOneOnly(t *testing.T) {
	const query = "a=b&step_up=cancel&step_up_approval=idX&step_up=cancel&step_up_approval=id"
	r := httptest.NewRequest("GET", "http://bank.example/?"+query, nil)
	var s signals
	if err := s.takeControl(r); err != nil {
		t.Fatal(err)
	}
	if want := "a=b&step_up=cancel&step_up_approval=idX"; r.URL.RawQuery != want {
		t.Errorf("query is %q, want %q", r.URL.RawQuery, want)
	}
}

func TestTakePreferences_knowsQuotedStrings(t *testing.T) {
	s := signals{wait: -1}
	s.takePreferences([]string{`foo="a,respond-async,wait=1"`})
	if s.respondAsync || s.wait >= 0 {
		t.Error("read preferences in a quoted string")
	}
}
