package page

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A hash of anything but the bytes between the tags would stop the page's own
// style and script, or let another in.
func TestCSP_namesTheInlineContentOfEveryPage(t *testing.T) {
	forEachPage(t, func(t *testing.T, v View) {
		doc := parse(t, render(t, v))
		for element, directive := range map[string]string{"style": "style-src", "script": "script-src"} {
			found := find(doc, element)
			if len(found) != 1 {
				t.Fatalf("%d <%s>, want 1", len(found), element)
			}
			if len(found[0].Attr) > 0 {
				t.Errorf("<%s %v>", element, found[0].Attr)
			}
			sum := sha256.Sum256([]byte(found[0].FirstChild.Data))
			want := directive + " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
			var got string
			for d := range strings.SplitSeq(CSP(), "; ") {
				if strings.HasPrefix(d, directive+" ") {
					got = d
				}
			}
			if got != want {
				t.Errorf("policy has %q, want %q", got, want)
			}
		}
	})
}

func TestCSP_allowsNothingElse(t *testing.T) {
	var got []string
	for d := range strings.SplitSeq(CSP(), "; ") {
		if !strings.HasPrefix(d, "style-src ") && !strings.HasPrefix(d, "script-src ") {
			got = append(got, d)
		}
	}
	want := []string{
		"default-src 'none'",
		"connect-src 'self'",
		"form-action 'self' https:",
		"base-uri 'none'",
		"frame-ancestors 'none'",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
	if strings.Contains(CSP(), "unsafe") {
		t.Error("policy allows what is unsafe")
	}
}

func TestSetHeaders(t *testing.T) {
	h := http.Header{
		"Cache-Control": {"public"},
		"Vary":          {"Origin"},
		"X-Other":       {"kept"},
	}
	SetHeaders(h)
	want := http.Header{
		"Content-Type":            {"text/html; charset=utf-8"},
		"Content-Security-Policy": {CSP()},
		"X-Content-Type-Options":  {"nosniff"},
		"X-Frame-Options":         {"DENY"},
		"Cache-Control":           {"no-store"},
		"Referrer-Policy":         {"same-origin"},
		"Vary":                    {"Origin", "Accept, Accept-Language, Cookie, Sec-Fetch-Mode, Step-Up-Status"},
		"X-Other":                 {"kept"},
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}
