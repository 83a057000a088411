package caddymodule

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// The request headers that the gate reads. They never reach the upstream.
const (
	headerSession  = "Step-Up-Session"
	headerStatus   = "Step-Up-Status"
	headerApproval = "Step-Up-Approval"
	headerRestart  = "Step-Up-Restart"
)

// maxStatusWait bounds how long a question for the state is held back.
const maxStatusWait = time.Minute

// signals is what a client tells the gate, apart from its request.
type signals struct {
	session string // the token in Step-Up-Session
	handle  string // an approval's, in Step-Up-Approval or a control
	restart string // the id of the ended approval that is to start over
	action  string // of a control: continue, restart or cancel

	status     bool          // the client asks for the state only
	statusWait time.Duration // how long the answer may be held back

	respondAsync bool          // Prefer: respond-async
	wait         time.Duration // Prefer: wait=N; negative for none
}

// takeSignals reads the gate's headers and removes them from the request, in
// every spelling that something behind could take for them.
func takeSignals(r *http.Request) signals {
	s := signals{
		session: r.Header.Get(headerSession),
		handle:  r.Header.Get(headerApproval),
		restart: r.Header.Get(headerRestart),
		wait:    -1,
	}
	if values := r.Header.Values(headerStatus); len(values) > 0 {
		s.status = true
		if seconds, err := strconv.ParseUint(values[0], 10, 16); err == nil {
			s.statusWait = min(time.Duration(seconds)*time.Second, maxStatusWait)
		}
	}
	removeOurs(r)
	s.takePreferences(r.Header.Values("Prefer"))
	return s
}

// connectionOptions are what Connection may say, besides upgrade. Any other
// option is the name of a header that a proxy behind would drop (RFC 9110
// §7.6.1): what was read here, or set here, would not arrive.
var connectionOptions = map[string]bool{"close": true, "keep-alive": true, "te": true}

// removeOurs removes every header of ours from a request, and from Connection
// what is not of the connection. Trailers go as a whole. They come after
// everything that was decided, and nothing that is approved needs them.
func removeOurs(r *http.Request) {
	for name := range r.Header {
		if isOurs(name) {
			delete(r.Header, name)
		}
	}
	r.Trailer = nil
	delete(r.Header, "Trailer")
	// An upgrade to another protocol than WebSocket, such as h2c, would open a
	// way to the upstream for requests that nobody sees here.
	upgrades := slices.Equal(lower(r.Header.Values("Upgrade")), []string{"websocket"})
	if !upgrades {
		delete(r.Header, "Upgrade")
		delete(r.Header, "Http2-Settings")
	}
	lines, ok := r.Header["Connection"]
	if !ok {
		return
	}
	var kept []string
	for _, line := range lines {
		for option := range strings.SplitSeq(line, ",") {
			if option = strings.TrimSpace(option); connectionOptions[strings.ToLower(option)] ||
				upgrades && strings.EqualFold(option, "upgrade") {
				kept = append(kept, option)
			}
		}
	}
	if len(kept) == 0 {
		delete(r.Header, "Connection")
		return
	}
	r.Header["Connection"] = []string{strings.Join(kept, ", ")}
}

func lower(values []string) []string {
	out := make([]string, len(values))
	for i, value := range values {
		out[i] = strings.ToLower(value)
	}
	return out
}

// isOurs tells whether a header would be read as one of the gate's, by a
// server that folds case, underscores and dots.
func isOurs(name string) bool {
	const prefix = "step-up-"
	if len(name) < len(prefix) {
		return false
	}
	return fold(name[:len(prefix)]) == prefix
}

// takePreferences reads what matters here of Prefer (RFC 7240).
func (s *signals) takePreferences(values []string) {
	for _, value := range values {
		for preference := range listElements(value) {
			preference, _, _ = strings.Cut(preference, ";")
			name, value, _ := strings.Cut(preference, "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "respond-async":
				s.respondAsync = true
			case "wait":
				seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 32)
				if err == nil && s.wait < 0 {
					s.wait = time.Duration(seconds) * time.Second
				}
			}
		}
	}
}

// listElements splits a list at its commas, but for those in quoted strings
// (RFC 9110 §5.6.1).
func listElements(list string) iter.Seq[string] {
	var quoted, escaped bool
	return strings.FieldsFuncSeq(list, func(r rune) bool {
		switch {
		case escaped:
			escaped = false
		case quoted && r == '\\':
			escaped = true
		case r == '"':
			quoted = !quoted
		}
		return r == ',' && !quoted
	})
}

// controlForm is what the forms and links of a waiting page send.
var controlForm = regexp.MustCompile(`^step_up=(continue|restart|cancel)&step_up_approval=([A-Za-z0-9._-]{1,128})$`)

// maxControl is the length of the longest control.
const maxControl = 192

// takeControl reads a control that came with a request, from the end of the
// query or as the whole of a form, and takes it out of the request.
func (s *signals) takeControl(r *http.Request) error {
	var found []string
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		_, control := cutControl(originalURL(r).RawQuery)
		if control == "" {
			return nil
		}
		found = controlForm.FindStringSubmatch(control)
		// A rewrite may have put it anywhere, or left it out.
		if i := strings.LastIndex(r.URL.RawQuery, control); i >= 0 {
			before, after := r.URL.RawQuery[:i], r.URL.RawQuery[i+len(control):]
			r.URL.RawQuery = strings.TrimSuffix(before, "&") + after
		}
	case http.MethodPost:
		if !isForm(r) || r.ContentLength <= 0 || r.ContentLength > maxControl {
			return nil
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, maxControl))
		if err != nil {
			return err
		}
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(body), r.Body), r.Body}
		if found = controlForm.FindStringSubmatch(string(body)); found == nil {
			return nil
		}
	default:
		return nil
	}
	s.action, s.handle = found[1], found[2]
	if s.action == controlRestart {
		s.restart, _, _ = strings.Cut(s.handle, ".")
	}
	return nil
}

// The controls.
const (
	controlContinue = "continue"
	controlRestart  = "restart"
	controlCancel   = "cancel"
)

// cutControl splits the control off a raw query; it is empty where there is
// none.
func cutControl(query string) (rest, control string) {
	i := strings.LastIndex(query, "step_up=")
	switch {
	case i < 0 || i > 0 && query[i-1] != '&' || !controlForm.MatchString(query[i:]):
		return query, ""
	case i == 0:
		return "", query
	}
	return query[:i-1], query[i:]
}

// originalURL is the URL as the client sent it: what was rewritten on the way
// here is rewritten again when the client comes back.
func originalURL(r *http.Request) *url.URL {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && original.URL != nil {
		return original.URL
	}
	return r.URL
}

// controlLink is the link that sends a control from a page of a GET request.
func controlLink(query, action, handle string) string {
	control := "step_up=" + action + "&step_up_approval=" + handle
	if query == "" {
		return "?" + control
	}
	return "?" + query + "&" + control
}

func isForm(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
}

var errBodyTooLarge = errors.New("body is larger than max_body")

// readBody reads the whole body, so that what is approved is what is sent, and
// puts it back in its place.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, errBodyTooLarge
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) || int64(len(body)) > limit {
		return nil, errBodyTooLarge
	}
	if err != nil {
		return nil, err
	}
	setBody(r, body)
	return body, nil
}

// setBody makes body the request's, to be sent with its length.
func setBody(r *http.Request, body []byte) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
	r.Body = http.NoBody
	if len(body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	r.ContentLength = int64(len(body))
	r.TransferEncoding = nil
	r.Header.Del("Transfer-Encoding")
	r.Header.Del("Content-Length")
	if len(body) > 0 || r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
		r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	}
}

// meaningful are the headers, folded, that change what a request does: how its
// body is read, and for some applications which method, path and host it has.
// What is approved is bound to them.
var meaningful = map[string]bool{
	"content-type": true, "content-encoding": true, "content-range": true,
	"x-http-method-override": true, "x-http-method": true, "x-method-override": true,
	"x-original-method": true, "x-forwarded-method": true,
	"x-original-url": true, "x-original-uri": true, "x-rewrite-url": true,
	"soapaction": true, "upgrade": true, "x-forwarded-uri": true, "x-forwarded-prefix": true, "x-original-host": true,
}

// meaningfulHeaders are those of a request, in every spelling that something
// behind could take for them.
func meaningfulHeaders(h http.Header) http.Header {
	found := make(http.Header)
	for name, values := range h {
		if meaningful[fold(name)] {
			found[name] = values
		}
	}
	return found
}

// fold is a header's name as a server reads it that folds case, underscores
// and dots.
func fold(name string) string { return strings.ToLower(aliases.Replace(name)) }

var aliases = strings.NewReplacer("_", "-", ".", "-")

// fingerprint is a hash over everything that makes this request another one
// than any other.
//
// shown are values that are shown on the phone and come from elsewhere, such as
// other headers: the request is another one when they are.
func fingerprint(r *http.Request, body []byte, shown ...string) []byte {
	h := sha256.New()
	var length [8]byte
	count := func(n int) {
		binary.BigEndian.PutUint64(length[:], uint64(n))
		h.Write(length[:])
	}
	add := func(part string) {
		count(len(part))
		io.WriteString(h, part)
	}
	add(r.Method)
	add(scheme(r))
	add(r.Host)
	add(r.URL.EscapedPath())
	add(rawQuery(r))
	headers := meaningfulHeaders(r.Header)
	count(len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		add(name)
		count(len(headers[name]))
		for _, value := range headers[name] {
			add(value)
		}
	}
	count(len(shown))
	for _, value := range shown {
		add(value)
	}
	h.Write(body)
	return h.Sum(nil)
}

// rawQuery is the query with its question mark, as it is sent on.
func rawQuery(r *http.Request) string {
	if r.URL.RawQuery == "" && !r.URL.ForceQuery {
		return ""
	}
	return "?" + r.URL.RawQuery
}

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
