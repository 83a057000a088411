package cibatest

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// The broker's public demonstration client for its pre-production environment.
const (
	DemoClientID     = "62b8cc03-aa73-4d6a-922c-7c8fb0a4a1d9"
	DemoClientSecret = "mIpxk84FI1wpc7cP7nodFLfgQQ1ScZHYO44FZ9wPOqrB0ha9S5RUNYPXMkrCWwRjGqEH0hflnIJea8IKmW19aQ=="
)

// Config is what a [Server] is made from. Only Issuer is required.
type Config struct {
	// Issuer is the provider's issuer identifier, for example
	// "http://127.0.0.1:9000/op". Its path is the prefix of all endpoints. It
	// has no query, no fragment and no slash at the end.
	Issuer string

	// ClientID and ClientSecret are the credentials of the only client. Both
	// or neither are set; the default is the broker's demonstration client.
	ClientID, ClientSecret string

	// AuthMethods are the ways of client authentication that discovery
	// announces and the endpoints accept: client_secret_basic and
	// client_secret_post, which is also the default. Any other way is
	// refused with invalid_client.
	AuthMethods []string

	// ExpiresIn is the lifetime of a request and Interval the least time
	// between an answer of the token endpoint and the next poll. Both are
	// whole seconds; the defaults are 300 s and 5 s.
	ExpiresIn, Interval time.Duration

	// KnownUUIDs are the MitID UUIDs that have a person; a request for
	// another one is refused with unknown_user_id. The default, nil, knows
	// everybody.
	KnownUUIDs []string

	// Now is the server's clock, by default [time.Now].
	Now func() time.Time

	// TokenClaims, when set, may change the claims of an ID token before it
	// is signed, for example to add loa. It is called without locks held and
	// before a [TokenFault] is applied, by several goroutines at once when
	// several requests are collected at once. A value that JSON cannot hold
	// makes the call panic.
	TokenClaims func(claims map[string]any, r Request)
}

// Server is the provider. It is made by [New] and safe for concurrent use.
type Server struct {
	cfg       Config
	origin    string // scheme and host of the issuer
	discovery []byte
	known     map[string]bool // lower case; nil knows everybody
	mux       *http.ServeMux

	mu       sync.Mutex
	keys     keySet
	requests []*request
	byID     map[string]*request
	calls    []*Call
	faults   []*fault
}

// recordedIssuer is the issuer in discovery.json, which is the discovery
// document of the broker's pre-production environment as it was recorded.
const recordedIssuer = "https://pp.netseidbroker.dk/op"

//go:embed discovery.json
var recordedDiscovery []byte

// issuerPath keeps out what means something to http.ServeMux: braces, dot
// segments, empty segments.
var issuerPath = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$`)

// New makes a server. It fails when the configuration cannot be met.
//
// Making RSA keys takes a moment, so all servers of a process share theirs: an
// ID token of one is validly signed in the eyes of another.
func New(cfg Config) (*Server, error) {
	issuer, err := url.Parse(cfg.Issuer)
	if err != nil {
		return nil, errors.New("parsing issuer: not a URL")
	}
	origin := issuer.Scheme + "://" + issuer.Host
	if issuer.Scheme != "http" && issuer.Scheme != "https" || issuer.Host == "" ||
		!issuerPath.MatchString(issuer.Path) || cfg.Issuer != origin+issuer.Path {
		return nil, errors.New("parsing issuer: want http or https, a host and a plain path without a slash at the end")
	}
	if (cfg.ClientID == "") != (cfg.ClientSecret == "") {
		return nil, errors.New("checking client: set both the client id and the client secret, or neither")
	}
	if cfg.ClientID == "" {
		cfg.ClientID, cfg.ClientSecret = DemoClientID, DemoClientSecret
	}
	if cfg.AuthMethods == nil {
		cfg.AuthMethods = []string{secretBasic, secretPost}
	}
	for _, m := range cfg.AuthMethods {
		if m != secretBasic && m != secretPost {
			return nil, fmt.Errorf("checking authentication methods: %q is none of %s and %s", m, secretBasic, secretPost)
		}
	}
	if cfg.ExpiresIn, err = wholeSeconds("lifetime", cfg.ExpiresIn, 300*time.Second); err != nil {
		return nil, err
	}
	if cfg.Interval, err = wholeSeconds("interval", cfg.Interval, 5*time.Second); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}

	s := &Server{
		cfg:    cfg,
		origin: origin,
		byID:   make(map[string]*request),
		keys:   newKeySet(),
	}
	if cfg.KnownUUIDs != nil {
		s.known = make(map[string]bool, len(cfg.KnownUUIDs))
		for _, u := range cfg.KnownUUIDs {
			if !uuidShape.MatchString(u) {
				return nil, errors.New("checking known users: an entry is not a UUID")
			}
			s.known[strings.ToLower(u)] = true
		}
	}
	if s.discovery, err = discoveryDocument(cfg.Issuer, cfg.AuthMethods); err != nil {
		return nil, err
	}
	s.mux = s.routes(issuer.Path)
	return s, nil
}

func wholeSeconds(name string, d, fallback time.Duration) (time.Duration, error) {
	if d == 0 {
		return fallback, nil
	}
	if d < 0 || d%time.Second != 0 {
		return 0, fmt.Errorf("checking %s: want whole seconds above zero, have %v", name, d)
	}
	return d, nil
}

// discoveryDocument is the recording with another issuer and with the given
// ways of client authentication. It announces more than the server has
// (authorize, PAR, signed requests), as a client must live with that.
func discoveryDocument(issuer string, methods []string) ([]byte, error) {
	var doc map[string]any
	if err := json.Unmarshal(recordedDiscovery, &doc); err != nil {
		return nil, fmt.Errorf("parsing recorded discovery document: %w", err)
	}
	for name, value := range doc {
		if s, ok := value.(string); ok {
			if rest, ok := strings.CutPrefix(s, recordedIssuer); ok {
				doc[name] = issuer + rest
			}
		}
		if strings.HasSuffix(name, "_endpoint_auth_methods_supported") {
			doc[name] = slices.Clone(methods)
		}
	}
	return json.Marshal(doc)
}

func (s *Server) routes(prefix string) *http.ServeMux {
	mux := http.NewServeMux()
	const wellKnown = "/.well-known/openid-configuration"
	mux.HandleFunc(prefix+wellKnown, s.protocol(EndpointDiscovery, s.handleDiscovery))
	mux.HandleFunc(prefix+wellKnown+"/jwks", s.protocol(EndpointJWKS, s.handleJWKS))
	mux.HandleFunc(prefix+"/connect/ciba", s.protocol(EndpointStart, s.handleStart))
	mux.HandleFunc(prefix+"/connect/token", s.protocol(EndpointToken, s.handleToken))
	mux.HandleFunc(prefix+"/api/v1/ciba/{id}", s.protocol(EndpointCancel, s.handleCancel))
	mux.Handle("/sim/", s.phone())
	return mux
}

// ServeHTTP answers protocol calls under the issuer's path and serves the phone
// at /sim/. It panics with [http.ErrAbortHandler], which makes an [http.Server]
// close the connection, where a [Fault] drops the connection and where the
// client goes away during a fault's latency.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mux.ServeHTTP(w, r)
}

func (s *Server) handleDiscovery(x *exchange) answer {
	if x.r.Method != http.MethodGet && x.r.Method != http.MethodHead {
		return answer{status: http.StatusMethodNotAllowed}
	}
	return answer{status: http.StatusOK, contentType: "application/json", body: s.discovery}
}

func (s *Server) handleJWKS(x *exchange) answer {
	if x.r.Method != http.MethodGet && x.r.Method != http.MethodHead {
		return answer{status: http.StatusMethodNotAllowed}
	}
	s.mu.Lock()
	keys := s.keys
	s.mu.Unlock()
	return jsonAnswer(http.StatusOK, keys.jwks())
}
