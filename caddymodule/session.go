package caddymodule

import (
	"net/http"
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
	takeCookies(r.Header, func(cookie, value string) {
		if cookie == name && !had {
			s, had = e.ParseSession(value)
		}
	})
	if fromHeader, ok := e.ParseSession(token); ok {
		return fromHeader, true
	}
	return s, had
}

// takeCookies takes the session cookies out of a request, calls found for each,
// and leaves every other byte of the Cookie header as it is.
func takeCookies(h http.Header, found func(name, value string)) {
	lines, ok := h["Cookie"]
	if !ok {
		return
	}
	kept := lines[:0]
	for _, line := range lines {
		if !strings.Contains(line, plainCookie) {
			kept = append(kept, line)
			continue
		}
		if rest, some := cutCookies(line, found); some {
			kept = append(kept, rest)
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}

// cutCookies does so in one line, and tells whether another cookie is left.
func cutCookies(line string, found func(name, value string)) (rest string, some bool) {
	var b strings.Builder
	b.Grow(len(line))
	cut := false
	for pair := range strings.SplitSeq(line, ";") {
		name, value, _ := strings.Cut(pair, "=")
		if name = strings.TrimSpace(name); name == secureCookie || name == plainCookie {
			found(name, strings.Trim(strings.TrimSpace(value), `"`))
			cut = true
			continue
		}
		if some {
			b.WriteByte(';')
		} else if cut {
			pair = strings.TrimPrefix(pair, " ")
		}
		b.WriteString(pair)
		some = true
	}
	return b.String(), some
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
