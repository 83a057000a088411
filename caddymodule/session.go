package caddymodule

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// The session cookie: the prefix makes browsers keep it to this host and to
// TLS (RFC 6265bis §4.1.3). Without TLS it cannot have one.
const (
	secureCookie = "__Host-step_up"
	plainCookie  = "step_up"
)

func cookieName(r *http.Request) string {
	if scheme(r) == "https" {
		return secureCookie
	}
	return plainCookie
}

// takeSession returns the client's session, from the header or the cookie, and
// whether it had one. The cookie is taken out of the request: the upstream has
// no use for it.
func takeSession(e *approval.Engine, r *http.Request, token string) (s approval.Session, had bool) {
	name := cookieName(r)
	for _, c := range r.CookiesNamed(name) {
		if !had {
			s, had = e.ParseSession(c.Value)
		}
	}
	removeCookies(r.Header)
	if fromHeader, ok := e.ParseSession(token); ok {
		return fromHeader, true
	}
	return s, had
}

// removeCookies takes the session cookies out of a request, and leaves every
// other byte of the Cookie header as it is.
func removeCookies(h http.Header) {
	var kept []string
	for _, line := range h["Cookie"] {
		pairs := strings.Split(line, ";")
		rest := slices.DeleteFunc(slices.Clone(pairs), isSessionCookie)
		switch {
		case len(rest) == len(pairs):
			kept = append(kept, line)
		case len(rest) > 0:
			kept = append(kept, strings.TrimPrefix(strings.Join(rest, ";"), " "))
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}

func isSessionCookie(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	name = strings.TrimSpace(name)
	return name == secureCookie || name == plainCookie
}

// giveSession hands a new session to the client: as a cookie, and to clients
// that are no browser also as a header that they can send back.
func giveSession(e *approval.Engine, w http.ResponseWriter, r *http.Request, s approval.Session) {
	token := e.SessionToken(s)
	secure := scheme(r) == "https"
	http.SetCookie(w, &http.Cookie{
		Name:     cookieName(r),
		Value:    token,
		Path:     "/",
		Secure:   secure,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
	if r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Sec-Fetch-Mode") == "" {
		w.Header().Set(headerSession, token)
	}
}
