package cibatest

import (
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Endpoint names an endpoint of the protocol.
type Endpoint string

// The endpoints of the protocol.
const (
	EndpointDiscovery Endpoint = "discovery"
	EndpointJWKS      Endpoint = "jwks"
	EndpointStart     Endpoint = "backchannel authentication"
	EndpointToken     Endpoint = "token"
	EndpointCancel    Endpoint = "cancel"
)

// Call is one call of the protocol, for proving intervals and that calls do
// not overlap.
type Call struct {
	Endpoint Endpoint `json:"endpoint"`

	// AuthReqID is the auth_req_id that the call asked about, as it was sent,
	// or that a start was given.
	AuthReqID string `json:"auth_req_id,omitempty"`

	// Started is when the call came in, Ended when its answer was given, with
	// a fault's latency between them. Ended is zero while the call is served.
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`

	// Status is the HTTP status of the answer, 0 where the caller got none.
	Status int `json:"status"`

	// Error is the error member of the answer, or empty.
	Error string `json:"error,omitempty"`
}

// Log returns every call of the protocol so far, in the order in which they
// came in.
func (s *Server) Log() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := make([]Call, len(s.calls))
	for i, c := range s.calls {
		calls[i] = *c
	}
	return calls
}

// exchange is one call while it is served.
type exchange struct {
	r      *http.Request
	form   url.Values // of start and token
	formOK bool
	id     string   // auth_req_id
	polled *request // the request whose interval starts anew with the answer
}

// answer is what an endpoint says.
type answer struct {
	status      int // 0 drops the connection
	contentType string
	header      http.Header
	body        []byte
	code        string // the error member
}

func jsonAnswer(status int, v any) answer {
	body, err := json.Marshal(v)
	if err != nil {
		// Answers are made of strings and numbers; a hook's claims are in the
		// signed tokens by now.
		panic("cibatest: encoding an answer: " + err.Error())
	}
	return answer{status: status, contentType: "application/json; charset=UTF-8", body: body}
}

// refusal is the broker's bare error object. It comes with 400 for every code,
// invalid_client and access_denied included, and without error_description.
func refusal(code string) answer {
	a := jsonAnswer(http.StatusBadRequest, map[string]string{"error": code})
	a.code = code
	return a
}

// protocol wraps an endpoint: it reads the form, keeps the log and applies
// faults.
func (s *Server) protocol(e Endpoint, handle func(*exchange) answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{r: r}
		started := s.cfg.Now()
		switch e {
		case EndpointStart, EndpointToken:
			x.form, x.formOK = readForm(w, r)
			if e == EndpointToken {
				x.id = x.form.Get("auth_req_id")
			}
		case EndpointCancel:
			x.id = r.PathValue("id")
		}
		call, f := s.begin(e, x.id, started)
		var a answer // dropped, should anything below panic
		defer func() { s.end(call, x, a) }()

		if !f.After {
			f.wait(r.Context())
		}
		switch {
		case f.Answer.replaces() && !f.After:
			a = f.replacement(r)
		default:
			handled := handle(x)
			if f.After {
				f.wait(r.Context())
			}
			a = f.spoil(r, handled)
		}
		if a.status == 0 {
			panic(http.ErrAbortHandler)
		}

		s.end(call, x, a)
		call = nil
		a.write(w, e)
	}
}

// begin notes a call and takes the fault that it meets.
func (s *Server) begin(e Endpoint, id string, started time.Time) (*Call, Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	call := &Call{Endpoint: e, AuthReqID: id, Started: started}
	s.calls = append(s.calls, call)
	return call, s.takeFault(func(f Fault) bool {
		return f.Token == TokenAsIs && f.Endpoint == e && (f.AuthReqID == "" || f.AuthReqID == id)
	})
}

// end completes the log entry and starts the polling interval. It comes before
// the answer is written: who has the answer can rely on both.
func (s *Server) end(call *Call, x *exchange, a answer) {
	if call == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	call.AuthReqID, call.Ended, call.Status, call.Error = x.id, now, a.status, a.code
	if x.polled != nil {
		x.polled.answered = now
	}
}

func (a answer) write(w http.ResponseWriter, e Endpoint) {
	h := w.Header()
	for name, values := range a.header {
		h[name] = values
	}
	if a.contentType != "" {
		h.Set("Content-Type", a.contentType)
	}
	if e == EndpointStart || e == EndpointToken {
		h.Set("Cache-Control", "no-store, no-cache, max-age=0")
		h.Set("Pragma", "no-cache")
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // who went away does not want it
}

// maxForm bounds what is read of a form, in bytes.
const maxForm = 64 << 10

// readForm reads a POSTed form. It is not good when the method or the content
// type is another one, or when a parameter is there twice (RFC 6749 §3.2).
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, bool) {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Method != http.MethodPost || err != nil || mediaType != "application/x-www-form-urlencoded" {
		return nil, false
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return nil, false
	}
	for _, values := range r.PostForm {
		if len(values) != 1 {
			return r.PostForm, false
		}
	}
	return r.PostForm, true
}

// The ways of client authentication (OpenID Connect Core 1.0 §9).
const (
	secretBasic = "client_secret_basic"
	secretPost  = "client_secret_post"
)

// checkForm is what the start and the token endpoint check first: the form and
// the client. It returns the error's code, or "".
func (s *Server) checkForm(x *exchange) string {
	if !x.formOK {
		return "invalid_request"
	}
	id, secret := x.form.Get("client_id"), x.form.Get("client_secret")
	method := secretPost
	if x.r.Header.Get("Authorization") != "" {
		// RFC 6749 §2.3: not more than one method in a request.
		if secret != "" {
			return "invalid_request"
		}
		basicID, basicSecret, ok := basicAuth(x.r)
		if !ok || id != "" && id != basicID {
			return "invalid_client"
		}
		method, id, secret = secretBasic, basicID, basicSecret
	}
	if x.form.Has("client_assertion") && secret != "" {
		return "invalid_request"
	}
	if !slices.Contains(s.cfg.AuthMethods, method) || id != s.cfg.ClientID || secret != s.cfg.ClientSecret {
		return "invalid_client"
	}
	return ""
}

// basicAuth decodes Basic credentials, which are form-encoded before they are
// joined (RFC 6749 §2.3.1).
func basicAuth(r *http.Request) (id, secret string, ok bool) {
	rawID, rawSecret, ok := r.BasicAuth()
	if !ok {
		return "", "", false
	}
	id, err := url.QueryUnescape(rawID)
	if err != nil {
		return "", "", false
	}
	secret, err = url.QueryUnescape(rawSecret)
	return id, secret, err == nil
}

// hasScope says whether a space-separated scope contains a value.
func hasScope(scope, value string) bool {
	return slices.Contains(strings.Fields(scope), value)
}
