package ciba

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Defaults of [Config].
const (
	defaultScope       = "openid"
	defaultClockSkew   = 30 * time.Second
	defaultMaxTokenAge = 10 * time.Minute
)

// grantType is CIBA's grant type (CIBA Core 1.0 §4).
const grantType = "urn:openid:params:grant-type:ciba"

// Config configures a [Client]. Issuer, ClientID and Auth are required.
type Config struct {
	// Issuer is the provider's issuer identifier. Discovery's issuer and the
	// tokens' iss must be exactly it. It must be an https URL; http is accepted
	// for the loopback hosts localhost, 127.0.0.0/8 and ::1.
	Issuer string

	// ClientID is the client's identifier at the provider, and the audience
	// that ID tokens must name.
	ClientID string

	// Auth authenticates the client at the backchannel authentication and
	// token endpoints. See [ClientSecretPost] and [ClientSecretBasic].
	Auth ClientAuth

	// Scope is what authentication requests ask for; "openid" where empty. It
	// must contain openid (CIBA Core 1.0 §7.1).
	Scope string

	// Endpoints replace those that discovery announces.
	Endpoints Endpoints

	// Algorithms are the JWS algorithms accepted for ID tokens, out of RS256,
	// RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 and EdDSA. Where
	// empty, those of them that discovery's
	// id_token_signing_alg_values_supported lists are accepted. Neither none
	// nor the HS algorithms ever are.
	Algorithms []string

	// TrustedAudiences are audiences that an ID token may name beside the
	// client (OpenID Connect Core 1.0 §3.1.3.7).
	TrustedAudiences []string

	// ClockSkew is how far the provider's clock may be from this one where nbf,
	// iat and auth_time are compared; 30 seconds where 0. An expired token is
	// refused without regard to it.
	ClockSkew time.Duration

	// MaxTokenAge is the greatest age, by iat, of an accepted ID token; ten
	// minutes where 0.
	MaxTokenAge time.Duration

	// Transport carries the requests. Where nil, it is a clone of
	// [http.DefaultTransport] with limits on headers and idle connections.
	Transport http.RoundTripper

	// Now is the clock; [time.Now] where nil.
	Now func() time.Time

	// Logger gets a warning when discovery or keys cannot be refreshed and old
	// ones are used on. Nothing is logged where it is nil.
	Logger *slog.Logger
}

// Endpoints are a provider's endpoints, under the same rule about https as
// [Config.Issuer]. What is set here is not looked up: discovery is only
// fetched for an endpoint that is empty, or for the algorithms where
// [Config.Algorithms] is empty. Configuring all of them does without discovery.
type Endpoints struct {
	// BackchannelAuthentication takes authentication requests.
	BackchannelAuthentication string

	// Token answers polls.
	Token string

	// JWKS serves the keys that sign ID tokens.
	JWKS string

	// Cancel is the URL under which requests are cancelled, by DELETE of
	// Cancel + "/" + auth_req_id. Where empty it is the broker's: the issuer +
	// "/api/v1/ciba". It is no part of CIBA and discovery does not tell it.
	Cancel string

	// CancelOff says that the provider cannot cancel: [Client.Cancel] then does
	// nothing.
	CancelOff bool
}

// Client is a CIBA client of one provider. It is safe for concurrent use.
type Client struct {
	cfg       Config
	http      *http.Client
	discovery *cache[metadata]
	keys      *cache[keySet]
}

// New makes a client. It checks the configuration but makes no request, so it
// works while the provider is away.
func New(cfg Config) (*Client, error) {
	if cfg.ClientID == "" {
		return nil, errors.New("checking client id: it is empty")
	}
	if cfg.Auth == nil {
		return nil, errors.New("checking client authentication: there is none")
	}
	if a, ok := cfg.Auth.(*clientSecret); ok && (a == nil || a.reveal() == "") {
		return nil, errors.New("checking client authentication: the client secret is empty")
	}
	for _, e := range []struct{ name, url string }{
		{"issuer", cfg.Issuer},
		{"backchannel authentication endpoint", cfg.Endpoints.BackchannelAuthentication},
		{"token endpoint", cfg.Endpoints.Token},
		{"jwks endpoint", cfg.Endpoints.JWKS},
		{"cancel endpoint", cfg.Endpoints.Cancel},
	} {
		if e.url == "" && e.name != "issuer" {
			continue
		}
		u, err := checkURL(e.url)
		if err != nil {
			return nil, fmt.Errorf("checking %s: %w", e.name, err)
		}
		// Both get path segments appended (OpenID Connect Discovery 1.0 §4).
		if (e.name == "issuer" || e.name == "cancel endpoint") && (u.RawQuery != "" || u.ForceQuery) {
			return nil, fmt.Errorf("checking %s: it must not have a query", e.name)
		}
	}
	if cfg.Scope == "" {
		cfg.Scope = defaultScope
	}
	if err := checkScope(cfg.Scope); err != nil {
		return nil, fmt.Errorf("checking scope: %w", err)
	}
	for _, alg := range cfg.Algorithms {
		if !slices.Contains(supportedAlgorithms, alg) {
			return nil, fmt.Errorf("checking algorithms: %q is not one of %s", alg, strings.Join(supportedAlgorithms, ", "))
		}
	}
	if cfg.ClockSkew < 0 || cfg.MaxTokenAge < 0 {
		return nil, errors.New("checking clock skew and token age: they must not be negative")
	}
	if cfg.ClockSkew == 0 {
		cfg.ClockSkew = defaultClockSkew
	}
	if cfg.MaxTokenAge == 0 {
		cfg.MaxTokenAge = defaultMaxTokenAge
	}
	if cfg.Endpoints.Cancel == "" {
		cfg.Endpoints.Cancel = strings.TrimSuffix(cfg.Issuer, "/") + "/api/v1/ciba"
	}
	if cfg.Transport == nil {
		cfg.Transport = defaultTransport()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Algorithms = slices.Clone(cfg.Algorithms)
	cfg.TrustedAudiences = slices.Clone(cfg.TrustedAudiences)

	c := &Client{
		cfg: cfg,
		http: &http.Client{
			Transport: cfg.Transport,
			// A redirect would carry credentials to where nobody configured.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	c.discovery = &cache[metadata]{fetch: c.fetchMetadata, now: cfg.Now, log: cfg.Logger.With("document", "discovery")}
	c.keys = &cache[keySet]{fetch: c.fetchKeys, now: cfg.Now, log: cfg.Logger.With("document", "jwks")}
	return c, nil
}

// checkURL parses a URL that this client will call. Its errors quote nothing,
// because a URL may hold a password.
func checkURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("it is not a URL")
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return nil, errors.New("it must be an absolute https URL")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return nil, errors.New("it must be an https URL: http is only accepted for loopback hosts")
	case u.User != nil:
		return nil, errors.New("it must not have a user or password")
	case strings.Contains(s, "#"):
		return nil, errors.New("it must not have a fragment")
	}
	return u, nil
}

// isLoopback tells whether host is this machine by its name alone, without
// asking a resolver.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// checkScope checks the syntax of a scope (RFC 6749 §3.3) and that it asks for
// OpenID Connect at all.
func checkScope(scope string) error {
	for _, r := range scope {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return errors.New("it has characters that scopes cannot have")
		}
	}
	if !slices.Contains(strings.Split(scope, " "), "openid") {
		return errors.New("it must contain openid")
	}
	return nil
}

// defaultTransport is Go's own, with bounds that a provider's few answers
// never reach.
func defaultTransport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		t = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	}
	t = t.Clone()
	t.DialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	t.TLSHandshakeTimeout = 10 * time.Second
	t.MaxResponseHeaderBytes = 64 << 10
	t.MaxIdleConnsPerHost = 64
	t.IdleConnTimeout = 60 * time.Second
	return t
}
