package caddymodule

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

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
	for name := range r.Header {
		if isOurs(name) {
			delete(r.Header, name)
		}
	}
	s.takePreferences(r.Header.Values("Prefer"))
	return s
}

// isOurs tells whether a header would be read as one of the gate's, by a
// server that folds case, underscores and dots.
func isOurs(name string) bool {
	const prefix = "step-up-"
	if len(name) < len(prefix) {
		return false
	}
	folded := strings.NewReplacer("_", "-", ".", "-").Replace(name[:len(prefix)])
	return strings.EqualFold(folded, prefix)
}

// takePreferences reads what matters here of Prefer (RFC 7240).
func (s *signals) takePreferences(values []string) {
	for _, value := range values {
		for preference := range strings.SplitSeq(value, ",") {
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
		rest, last, ok := cutControl(r.URL.RawQuery)
		if !ok {
			return nil
		}
		if found = controlForm.FindStringSubmatch(last); found == nil {
			return nil
		}
		r.URL.RawQuery = rest
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

// cutControl splits the control off a raw query.
func cutControl(query string) (rest, control string, ok bool) {
	i := strings.LastIndex(query, "step_up=")
	switch {
	case i < 0:
		return query, "", false
	case i == 0:
		return "", query, true
	case query[i-1] != '&':
		return query, "", false
	}
	return query[:i-1], query[i:], true
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
	// Trailers are not part of what is approved.
	r.Trailer = nil
	r.Header.Del("Trailer")
}

// meaningful are the headers that change what a request does: how its body is
// read, and for some applications which method and path it has. What is
// approved is bound to them.
var meaningful = []string{
	"Content-Type", "Content-Encoding", "Content-Range",
	"X-Http-Method-Override", "X-Http-Method", "X-Method-Override",
	"X-Original-Url", "X-Rewrite-Url",
}

// fingerprint is a hash over everything that makes this request another one
// than any other.
func fingerprint(r *http.Request, body []byte) []byte {
	h := sha256.New()
	var length [8]byte
	add := func(part string) {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		io.WriteString(h, part)
	}
	add(r.Method)
	add(scheme(r))
	add(r.Host)
	add(r.URL.EscapedPath())
	add(rawQuery(r))
	for _, name := range meaningful {
		values := r.Header[name]
		binary.BigEndian.PutUint64(length[:], uint64(len(values)))
		h.Write(length[:])
		for _, value := range values {
			add(value)
		}
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

// crossOrigin applies the rules of [http.CrossOriginProtection] to every
// method: here, a GET may have effects as well.
var crossOrigin = http.NewCrossOriginProtection()

func isCrossSite(r *http.Request) bool {
	asPost := *r
	asPost.Method = http.MethodPost
	return crossOrigin.Check(&asPost) != nil
}

// isEarlyData tells whether the request could be a replay by somebody who
// cannot read it: it came before the TLS handshake was complete (RFC 8470).
func isEarlyData(r *http.Request) bool {
	return r.TLS != nil && !r.TLS.HandshakeComplete || r.Header.Get("Early-Data") == "1"
}
