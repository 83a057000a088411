package caddymodule

import (
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// scheme is how the client reached this gateway, or the trusted proxy before
// it.
func scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted &&
		strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
		return "https"
	}
	return "http"
}

// clientIP is the client's address as Caddy knows it; it is not valid on a
// listener that has no addresses, such as a unix socket.
func clientIP(r *http.Request) netip.Addr {
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

// isNavigation tells whether a person looks at the answer: the browser says
// so, or, where it does not, the request asks for HTML before anything else.
func isNavigation(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return prefersHTML(r.Header.Values("Accept"))
}

// prefersHTML tells whether the best type that the client names is HTML
// (RFC 9110 §12.5.1).
func prefersHTML(accept []string) bool {
	var html, other float64
	for element := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		name, parameters, _ := strings.Cut(element, ";")
		quality := 1.0
		for parameter := range strings.SplitSeq(parameters, ";") {
			if key, value, ok := strings.Cut(strings.TrimSpace(parameter), "="); ok && strings.EqualFold(key, "q") {
				q, err := strconv.ParseFloat(value, 64)
				if err != nil || !(q >= 0 && q <= 1) {
					q = 0
				}
				quality = q
			}
		}
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "text/html", "application/xhtml+xml":
			html = max(html, quality)
		default:
			other = max(other, quality)
		}
	}
	return html > 0 && html >= other
}

// isCrossSite tells whether another site has made the browser send the request.
// It applies the rules of [http.CrossOriginProtection] to every method: here, a
// GET may have effects as well.
func (v *visit) isCrossSite() bool {
	asPost := *v.r
	asPost.Method = http.MethodPost
	return v.origins.Check(&asPost) != nil
}

// isPreflight tells whether the request is a CORS preflight as browsers send
// them (Fetch, "CORS-preflight fetch"): without content, and without a header
// by which an application could take it for another request.
func isPreflight(r *http.Request) bool {
	if r.Method != http.MethodOptions || r.ContentLength != 0 || len(r.TransferEncoding) > 0 ||
		r.Header.Get("Origin") == "" || r.Header.Get("Upgrade") != "" || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	return len(meaningfulHeaders(r.Header)) == 0
}

// isEarlyData tells whether the request could be a replay by somebody who
// cannot read it: it came before the TLS handshake was complete (RFC 8470).
func isEarlyData(r *http.Request) bool {
	// A proxy in front says so with "1", and whatever else is said counts as
	// that (RFC 8470 §5.1).
	return r.TLS != nil && !r.TLS.HandshakeComplete || len(r.Header.Values("Early-Data")) > 0
}

// isPlain tells whether a server is reached without TLS from other machines.
func isPlain(s *caddyhttp.Server) bool {
	if len(s.TLSConnPolicies) > 0 {
		return false
	}
	return slices.ContainsFunc(s.Listen, func(listen string) bool {
		address, err := caddy.ParseNetworkAddress(listen)
		if err != nil || address.IsUnixNetwork() || address.IsFdNetwork() {
			return false
		}
		ip, err := netip.ParseAddr(address.Host)
		return !strings.EqualFold(address.Host, "localhost") && (err != nil || !ip.IsLoopback())
	})
}

// isPrefetch tells whether the browser asks on its own, for a page that its
// user may want to see. Nobody has decided anything yet.
func isPrefetch(r *http.Request) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Moz"} {
		if strings.Contains(strings.ToLower(r.Header.Get(name)), "prefetch") {
			return true
		}
	}
	return false
}

// hasTarget tells whether the request names a path. Other forms of a target
// (RFC 9112 §3.2) are not for a route: matchers do not see what they mean.
func hasTarget(r *http.Request) bool {
	return r.URL.Opaque == "" && strings.HasPrefix(r.URL.Path, "/")
}
