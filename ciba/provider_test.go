package ciba

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

const (
	testIssuer = "https://op.example/op"
	testClient = "client-1"
	testSecret = "s3cr:t +/="
	testUUID   = "11111111-2222-3333-4444-555555555abc"
	testText   = "Betal 100,00 kr. til Ærø & Søn 😉"
	testID     = "0A2179A15B68.6CB_3AC-1"
)

// paths of the provider's endpoints.
const (
	pathDiscovery = "GET /op/.well-known/openid-configuration"
	pathJWKS      = "GET /op/jwks"
	pathStart     = "POST /op/connect/ciba"
	pathToken     = "POST /op/connect/token"
	pathCancel    = "DELETE /op/api/v1/ciba/" + testID
)

// request is what a provider saw.
type request struct {
	*http.Request
	form url.Values
}

// reply is what a provider says.
type reply struct {
	status int
	header http.Header
	body   string
	err    error
}

// provider is an OpenID provider without a network.
type provider struct {
	mu       sync.Mutex
	handlers map[string]func(request) reply
	seen     []request
}

// newProvider has discovery and the keys given.
func newProvider(keys ...string) *provider {
	p := &provider{handlers: make(map[string]func(request) reply)}
	p.on(pathDiscovery, 200, discovery(nil))
	p.on(pathJWKS, 200, `{"keys":[`+strings.Join(keys, ",")+`]}`)
	return p
}

// on makes the provider answer always the same.
func (p *provider) on(path string, status int, body string) {
	p.handle(path, func(request) reply { return reply{status: status, body: body} })
}

func (p *provider) handle(path string, f func(request) reply) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handlers[path] = f
}

// count is how often a path was called.
func (p *provider) count(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, r := range p.seen {
		if r.Method+" "+r.URL.Path == path {
			n++
		}
	}
	return n
}

// last is the last request.
func (p *provider) last() request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[len(p.seen)-1]
}

func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	q := request{Request: r}
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body.Close()
		if q.form, err = url.ParseQuery(string(body)); err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	p.seen = append(p.seen, q)
	f := p.handlers[r.Method+" "+r.URL.Path]
	p.mu.Unlock()
	a := reply{status: 404, body: "<html>not here</html>"}
	if f != nil {
		a = f(q)
	}
	if a.err != nil {
		return nil, a.err
	}
	if a.header == nil {
		a.header = make(http.Header)
	}
	return &http.Response{
		Status: http.StatusText(a.status), StatusCode: a.status, Header: a.header,
		Body: io.NopCloser(strings.NewReader(a.body)), Request: r,
	}, nil
}

// hang answers when the request is given up.
func hang(r request) reply {
	<-r.Context().Done()
	return reply{err: context.Cause(r.Context())}
}

// discovery is the provider's metadata, with changes; nil removes.
func discovery(change map[string]any) string {
	m := map[string]any{
		"issuer":                              testIssuer,
		"backchannel_authentication_endpoint": testIssuer + "/connect/ciba",
		"token_endpoint":                      testIssuer + "/connect/token",
		"jwks_uri":                            testIssuer + "/jwks",
		"backchannel_token_delivery_modes_supported": []string{"poll", "ping"},
		"token_endpoint_auth_methods_supported":      []string{"client_secret_post", "client_secret_basic"},
		"id_token_signing_alg_values_supported":      supportedAlgorithms,
	}
	return toJSON(changed(m, change))
}

// changed applies changes to a copy of a map; nil removes.
func changed(m, change map[string]any) map[string]any {
	m = maps.Clone(m)
	for k, v := range change {
		if v == nil {
			delete(m, k)
		} else {
			m[k] = v
		}
	}
	return m
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// newClient makes a client of the provider.
func newClient(t testing.TB, rt http.RoundTripper, change func(*Config)) *Client {
	t.Helper()
	cfg := Config{
		Issuer:    testIssuer,
		ClientID:  testClient,
		Auth:      ClientSecretPost(testSecret),
		Transport: rt,
	}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Keys are slow to make.
var (
	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	otherKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey    = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	ec384Key = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) })
	edKey    = sync.OnceValue(func() ed25519.PrivateKey {
		_, k, err := ed25519.GenerateKey(rand.Reader)
		return must(k, err)
	})
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// jwk is a public key as a member of a JWK set.
func jwk(k crypto.Signer, kid, use, alg string) string {
	b := must(jose.JSONWebKey{Key: k.Public(), KeyID: kid, Use: use, Algorithm: alg}.MarshalJSON())
	return string(b)
}

// sign makes a token of any header and payload.
func sign(alg string, k any, header, payload string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	sig := must(jwt.GetSigningMethod(alg).Sign(text, k))
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// wantKind fails unless err is an *Error of a kind, and of no other.
func wantKind(t *testing.T, err, kind error) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got error %v (%T), want *Error of %q", err, err, kind)
	}
	for _, k := range []error{ErrPending, ErrSlowDown, ErrDenied, ErrExpired, ErrSpent, ErrUnknownUser, ErrConfiguration, ErrProvider, ErrUnavailable, ErrToken} {
		if got, want := errors.Is(err, k), k == kind; got != want {
			t.Errorf("errors.Is(%v, %q) = %v, want %v", err, k, got, want)
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v matches a context's error, which is for the caller's own", err)
	}
	return e
}

// wantCheck fails unless err is a *TokenError of a check.
func wantCheck(t *testing.T, err error, check string) {
	t.Helper()
	e, ok := errors.AsType[*TokenError](err)
	if !ok {
		t.Fatalf("got error %v (%T), want *TokenError of check %q", err, err, check)
	}
	if e.Check != check || !errors.Is(err, ErrToken) {
		t.Errorf("got %q, want check %q", e, check)
	}
}

// at is a fixed clock.
func at(t time.Time) func(*Config) {
	return func(c *Config) { c.Now = func() time.Time { return t } }
}
