package page

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
)

// CSP returns the Content-Security-Policy of every page (CSP Level 3). It
// allows the page's own style and script by their hashes, requests of the
// script to its own origin, forms, and nothing else.
func CSP() string { return csp }

var csp = "default-src 'none'" +
	"; style-src " + source(string(style)) +
	"; script-src " + source(string(script)) +
	"; connect-src 'self'" +
	// Not 'self' alone, although the forms go nowhere else: Chromium applies
	// form-action to the redirects after a form as well, and would stop a
	// person on this page whose approved request the application has carried
	// out and answered with a redirect to another site.
	"; form-action 'self' https:" +
	"; base-uri 'none'" +
	"; frame-ancestors 'none'"

// source is the CSP source expression for inline content.
func source(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// SetHeaders sets the headers that a page is served with: its type and policy,
// and that no cache may keep it. It adds to Vary and replaces the others.
func SetHeaders(h http.Header) {
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", csp)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cache-Control", "no-store")
	// Not no-referrer: browsers would send the page's own forms with
	// "Origin: null", which is not to be told from a cross-site request
	// (Fetch, "append a request Origin header").
	h.Set("Referrer-Policy", "same-origin")
	h.Add("Vary", "Accept, Accept-Language, Cookie, Sec-Fetch-Mode, Step-Up-Status")
}
