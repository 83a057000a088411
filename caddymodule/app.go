// Package caddymodule is stepup for Caddy: the app "step_up", which knows the
// CIBA provider, the store and the users, and the handler
// "http.handlers.step_up", which lets a request through only when its user has
// approved it with MitID.
package caddymodule

import (
	"cmp"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-stepup/stepup/ciba"
	"github.com/caddy-stepup/stepup/ciba/approval"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App is the part of stepup that all gated routes share: how to reach the CIBA
// provider, where approvals are kept, and which MitID belongs to which user.
//
// Secrets are best written as placeholders, such as {env.STEP_UP_CLIENT_SECRET}
// or {file./run/secrets/client_secret}. They are resolved when the
// configuration is loaded, and never written back. A placeholder without a
// value keeps the configuration from loading.
//
// Loading a configuration makes no connection: `caddy validate` works offline.
// The provider's endpoints are looked up when the first approval is started.
type App struct {
	// Issuer is the provider's issuer identifier. Its discovery document tells
	// the endpoints and algorithms. It must be an https URL; http is accepted
	// for loopback hosts. Required. Placeholders are resolved.
	Issuer string `json:"issuer,omitempty"`

	// ClientID is the client's identifier at the provider. Required.
	// Placeholders are resolved.
	ClientID string `json:"client_id,omitempty"`

	// ClientSecret is the client's secret. Required. Placeholders are
	// resolved.
	ClientSecret string `json:"client_secret,omitempty"`

	// ClientAuth is how the client authenticates itself: client_secret_post
	// (the default) or client_secret_basic.
	ClientAuth string `json:"client_auth,omitempty"`

	// Scope lists the scopes to ask for. It must contain openid. The default is
	// openid and mitid.
	Scope []string `json:"scope,omitempty"`

	// Endpoints replace those that discovery announces.
	Endpoints *Endpoints `json:"endpoints,omitempty"`

	// Key protects what lies in the store. All gateways on a store need the
	// same. The default is derived from the client secret; with a key of its
	// own, the client secret can be changed without losing what is pending. At
	// least 16 characters; best 32 random bytes in base64. Placeholders are
	// resolved.
	Key string `json:"key,omitempty"`

	// Budgets bound how many approvals may be started.
	Budgets *Budgets `json:"budgets,omitempty"`

	// MaxHeld bounds how many requests this process holds open at once, waiting
	// for their approval or for news of it. More are refused with 503, and start
	// nothing; so is more than a sixteenth of it for one person. The default is
	// 10000.
	MaxHeld int64 `json:"max_held,omitempty"`

	// MaxBodies bounds the memory, in bytes, that the bodies of requests take
	// which this process has read, until the requests have ended. More are
	// refused with 503; so is more than a sixteenth of it for one person. The
	// default is 256 MiB.
	MaxBodies int64 `json:"max_bodies,omitempty"`

	// StoreRaw is where approvals are kept. The default is memory, which
	// serves one gateway.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=step_up.stores inline_key=module"`

	// DirectoryRaw tells the MitID UUID of a user. Routes that name the UUID
	// themselves do without.
	DirectoryRaw json.RawMessage `json:"directory,omitempty" caddy:"namespace=step_up.directories inline_key=module"`

	client    *ciba.Client
	secret    []byte
	store     StoreModule
	directory Directory
	engineKey string
	userRate  approval.Rate
	addrRate  approval.Rate
	maxHeld   int64
	maxBodies int64
	slog      *slog.Logger
	log       *relay // the engine's way to slog, as long as this is the newest configuration
	started   bool   // and so uses the engine

	// The engine is this configuration's while anybody uses it: the app from
	// Start to Cleanup, and each request. A request may come before Start, and
	// outlive Cleanup.
	engine  atomic.Pointer[engine]
	users   atomic.Int64
	opening sync.Mutex // held to become the first user
}

// Endpoints are addresses of the provider. Empty ones are looked up by
// discovery. Placeholders are resolved.
type Endpoints struct {
	// BackchannelAuthentication starts authentication requests.
	BackchannelAuthentication string `json:"backchannel_authentication,omitempty"`
	// Token answers polls.
	Token string `json:"token,omitempty"`
	// JWKS has the keys that sign ID tokens.
	JWKS string `json:"jwks,omitempty"`
	// Cancel is the address under which requests are cancelled by DELETE, with
	// the auth_req_id behind it, or "off" for providers that cannot. The
	// default is the issuer followed by /api/v1/ciba.
	Cancel string `json:"cancel,omitempty"`
}

// Budgets bound how many approvals may be started, over all gateways on the
// store. After a refusal there is a pause besides, which no budget lifts.
type Budgets struct {
	// User is for one person, by the MitID that is asked. The default is 5 at
	// once and one more every 2 minutes.
	User *Budget `json:"user,omitempty"`
	// Address is for one client address; an IPv6 address counts with its /64.
	// The default is 30 at once and one more every 10 seconds.
	Address *Budget `json:"address,omitempty"`
}

// Budget is so many at once, and one more every so often.
type Budget struct {
	// Burst is how many at once. Required, unless Off.
	Burst int `json:"burst,omitempty"`
	// Per is how long it takes until there is one more. Required, unless Off.
	Per caddy.Duration `json:"per,omitempty"`
	// Off lifts the budget.
	Off bool `json:"off,omitempty"`
}

// rate is the budget for the engine; the zero Rate is its default.
func (b *Budget) rate(name string) (approval.Rate, error) {
	switch {
	case b == nil:
		return approval.Rate{}, nil
	case b.Off:
		return approval.Rate{Burst: -1}, nil
	case b.Burst <= 0 || b.Per <= 0:
		return approval.Rate{}, fmt.Errorf("budget for %s: both burst and per must be positive", name)
	}
	return approval.Rate{Burst: b.Burst, Per: time.Duration(b.Per)}, nil
}

// StoreModule is a Caddy module in the namespace step_up.stores.
type StoreModule interface {
	// Open opens the store. It makes no connection yet.
	Open() (approval.Store, error)

	// PoolKey tells stores apart: configurations with the same key share one
	// store, also across reloads. It holds no secret.
	PoolKey() string
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "step_up",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision resolves the configuration and sets up the client, without making
// a connection.
func (a *App) Provision(ctx caddy.Context) error {
	a.slog = ctx.Slogger()
	a.log = newRelay(a.slog.Handler())
	issuer, err := resolve("issuer", a.Issuer)
	if err != nil {
		return err
	}
	clientID, err := resolve("client_id", a.ClientID)
	if err != nil {
		return err
	}
	clientSecret, err := resolve("client_secret", a.ClientSecret)
	if err != nil {
		return err
	}
	var auth ciba.ClientAuth
	switch a.ClientAuth {
	case "", "client_secret_post":
		auth = ciba.ClientSecretPost(clientSecret)
	case "client_secret_basic":
		auth = ciba.ClientSecretBasic(clientSecret)
	default:
		return fmt.Errorf("unknown client_auth '%s': use client_secret_post or client_secret_basic", a.ClientAuth)
	}
	scope := a.Scope
	if len(scope) == 0 {
		scope = []string{"openid", "mitid"}
	}
	endpoints, err := a.Endpoints.resolve()
	if err != nil {
		return err
	}
	a.client, err = ciba.New(ciba.Config{
		Issuer:    issuer,
		ClientID:  clientID,
		Auth:      auth,
		Scope:     strings.Join(scope, " "),
		Endpoints: endpoints,
		Logger:    slog.New(a.log),
	})
	if err != nil {
		return fmt.Errorf("setting up the CIBA client: %w", err)
	}
	if a.secret, err = a.storeSecret(issuer, clientID, clientSecret); err != nil {
		return err
	}
	if a.Budgets != nil {
		if a.userRate, err = a.Budgets.User.rate("user"); err != nil {
			return err
		}
		if a.addrRate, err = a.Budgets.Address.rate("address"); err != nil {
			return err
		}
	}
	if a.MaxHeld < 0 || a.MaxBodies < 0 {
		return errors.New("max_held and max_bodies must be positive")
	}
	a.maxHeld = cmp.Or(a.MaxHeld, defaultMaxHeld)
	a.maxBodies = cmp.Or(a.MaxBodies, defaultMaxBodies)
	if err := a.loadModules(ctx); err != nil {
		return err
	}
	// Everything that makes an engine another one. The secrets are in the hash,
	// which cannot be turned round.
	a.engineKey = poolKey("engine", issuer, clientID, clientSecret, a.ClientAuth,
		strings.Join(scope, " "), endpoints.BackchannelAuthentication, endpoints.Token, endpoints.JWKS, endpoints.Cancel, fmt.Sprint(endpoints.CancelOff),
		fmt.Sprint(a.userRate, a.addrRate), string(a.secret), a.store.PoolKey())
	return nil
}

// loadModules loads the store and the directory.
func (a *App) loadModules(ctx caddy.Context) error {
	if a.StoreRaw == nil {
		a.StoreRaw = json.RawMessage(`{"module":"memory"}`)
	}
	store, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return fmt.Errorf("loading store: %w", err)
	}
	a.store = store.(StoreModule)
	if a.DirectoryRaw == nil {
		return nil
	}
	directory, err := ctx.LoadModule(a, "DirectoryRaw")
	if err != nil {
		return fmt.Errorf("loading directory: %w", err)
	}
	a.directory = directory.(Directory)
	return nil
}

// storeSecret is the secret that all gateways on a store share.
func (a *App) storeSecret(issuer, clientID, clientSecret string) ([]byte, error) {
	if a.Key == "" {
		return hkdf.Key(sha256.New, []byte(clientSecret), []byte(issuer+"\x00"+clientID), "stepup v1 store", 32)
	}
	key, err := resolve("key", a.Key)
	if err != nil {
		return nil, err
	}
	if len(key) < 16 {
		return nil, errors.New("key has fewer than 16 characters: make one with 'openssl rand -base64 32'")
	}
	return []byte(key), nil
}

// resolve replaces the placeholders in a value that must not be empty.
func resolve(name, value string) (string, error) {
	if value == "" {
		return "", fmt.Errorf("%s is missing", name)
	}
	resolved, err := caddy.NewReplacer().ReplaceOrErr(value, true, true)
	if err != nil {
		return "", fmt.Errorf("resolving %s: %w: set what the placeholder stands for", name, err)
	}
	if resolved == "" {
		return "", fmt.Errorf("%s is empty", name)
	}
	return resolved, nil
}

func (e *Endpoints) resolve() (ciba.Endpoints, error) {
	var out ciba.Endpoints
	if e == nil {
		return out, nil
	}
	for _, f := range []struct {
		name, value string
		out         *string
	}{
		{"backchannel_authentication", e.BackchannelAuthentication, &out.BackchannelAuthentication},
		{"token", e.Token, &out.Token},
		{"jwks", e.JWKS, &out.JWKS},
		{"cancel", e.Cancel, &out.Cancel},
	} {
		if f.value == "" {
			continue
		}
		var err error
		if *f.out, err = resolve("endpoint "+f.name, f.value); err != nil {
			return out, err
		}
	}
	if out.Cancel == "off" {
		out.Cancel, out.CancelOff = "", true
	}
	return out, nil
}

// Start begins polling for what is pending in the store.
func (a *App) Start() error {
	e, err := a.hold()
	if err != nil {
		return err
	}
	handler := a.slog.Handler()
	e.log.to.Store(&handler)
	a.started = true
	return nil
}

// Stop does nothing: requests that the old configuration still holds need the
// engine, and Cleanup gives it back.
func (a *App) Stop() error { return nil }

// Cleanup gives the engine back. Requests that still wait hold it themselves.
func (a *App) Cleanup() error {
	if a.started {
		a.started = false
		a.release()
	}
	return nil
}

// hold returns the engine for one user, who is to call release.
func (a *App) hold() (*engine, error) {
	if a.join() {
		return a.engine.Load(), nil
	}
	a.opening.Lock()
	defer a.opening.Unlock()
	if a.join() {
		return a.engine.Load(), nil
	}
	e, err := a.loadEngine()
	if err != nil {
		return nil, err
	}
	a.engine.Store(e)
	a.users.Store(1)
	return e, nil
}

// join counts one more user, unless that would be the first.
func (a *App) join() bool {
	for n := a.users.Load(); n > 0; n = a.users.Load() {
		if a.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

// release gives the engine back after hold.
func (a *App) release() {
	if a.users.Add(-1) > 0 {
		return
	}
	if err := releaseEngine(a.engineKey); err != nil {
		a.slog.Error("closing the approval engine", slog.Any("error", err))
	}
}

// poolKey is a hash over a list of strings.
func poolKey(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
