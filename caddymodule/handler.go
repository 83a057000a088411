package caddymodule

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-stepup/stepup/caddymodule/text"
	"github.com/caddy-stepup/stepup/ciba"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler holds a request until its user has approved it with MitID, and
// passes it on only then. It needs the app "step_up".
//
// By default an approval is for one request: for this method, host, path,
// query, content type and body, by this user in this session, once. With
// remember, it is for all requests of the user, in the session, to the route,
// for a time.
//
// These placeholders are set for the handlers behind:
//
// Placeholder | Description
// ------------|---------------
// `{http.step_up.approval_id}` | The approval's public id
// `{http.step_up.user}` | The user, as `user` named them
// `{http.step_up.uuid}` | The MitID UUID that approved
// `{http.step_up.approved_at}` | When, in RFC 3339
// `{http.step_up.transaction_id}` | MitID's id of the transaction
type Handler struct {
	// User says who is asking. Nobody, where it is empty: the answer is 403. It
	// must be something that the client cannot set. The default is
	// {http.auth.user.id}. Placeholders are resolved for each request.
	User string `json:"user,omitempty"`

	// UUID says whose MitID is to be asked. The default is what the app's
	// directory has for the user. Placeholders are resolved for each request.
	UUID string `json:"uuid,omitempty"`

	// Text is what the person reads on the phone, at most 130 characters with
	// the check code that is put behind it. The default names the method, the
	// host and the path, in the language that the browser asks for. Beside
	// Caddy's placeholders there are {step_up.form.NAME}, {step_up.json.PATH}
	// and {step_up.query.NAME}, fields of the request.
	Text string `json:"text,omitempty"`

	// Action is the heading in the MitID app: approve (the default), confirm,
	// accept, sign or log_on.
	Action string `json:"action,omitempty"`

	// Remember is how long an approval is good for further requests of the
	// user, in the same session, to this route. The default is 0: one approval,
	// one request.
	Remember caddy.Duration `json:"remember,omitempty"`

	// Respond says how a request waits: auto (the default) gives navigations a
	// page and holds the others; page gives everything a page; hold holds
	// everything; challenge answers everything at once.
	Respond string `json:"respond,omitempty"`

	// Hold bounds how long a request is held. The default is as long as the
	// person may take to answer.
	Hold caddy.Duration `json:"hold,omitempty"`

	// MaxBody bounds the body of a request that needs an approval of its own,
	// in bytes, 1 GiB at most. The default is 1 MiB.
	MaxBody int64 `json:"max_body,omitempty"`

	// RequireLoA is the level of assurance that the ID token must show at
	// least: low, substantial or high. By default, the token's level is not
	// looked at.
	RequireLoA string `json:"require_loa,omitempty"`

	// Headers hands what was verified to the upstream, in the request headers
	// Step-Up-User, Step-Up-UUID, Step-Up-Approval (the approval's id) and
	// Step-Up-Time (RFC 3339). What a client sends under these names never
	// reaches the upstream of a gated route, whatever this option is; routes
	// that are not gated have to remove them themselves. In the user's name,
	// what is not printable ASCII is percent-encoded. The default is false.
	Headers bool `json:"headers,omitempty"`

	// Supersede makes a new request call off what its user is being asked for
	// on this route, instead of being refused with 409. The default is false.
	Supersede bool `json:"supersede,omitempty"`

	// TrustedOrigins are other origins, such as https://portal.example.dk,
	// whose pages may send requests here that start approvals. The browser
	// names the origin for requests of scripts and forms; navigations by link
	// from elsewhere get a page with a link that starts them from here.
	TrustedOrigins []string `json:"trusted_origins,omitempty"`

	// Policy names the rule. Remembered approvals of routes with the same
	// policy, on one host and with the same settings, are the same approvals.
	// The Caddyfile gives every route a name of its own; in JSON, routes with
	// remember need one.
	Policy string `json:"policy,omitempty"`

	app      *App
	logger   *zap.Logger
	template *text.Template
	loa      ciba.LoA
	version  string
	origins  *http.CrossOriginProtection
}

const (
	defaultMaxBody = 1 << 20
	maxMaxBody     = 1 << 30
)

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.step_up",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision sets up the handler.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	app, err := ctx.AppIfConfigured("step_up")
	switch {
	case errors.Is(err, caddy.ErrNotConfigured):
		return errors.New("the step_up app is not configured: add the global option step_up")
	case err != nil:
		return err
	}
	h.app = app.(*App)
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && isPlain(server) {
		h.logger.Warn("a gated route is served over plain HTTP: sessions can be read on the way unless a proxy in front has TLS",
			zap.Strings("listen", server.Listen))
	}
	if h.User == "" {
		h.User = "{http.auth.user.id}"
	}
	if h.UUID == "" && h.app.directory == nil {
		return errors.New("nothing tells a user's MitID UUID: add a directory to the global option step_up, or uuid to the route")
	}
	if h.Text != "" {
		if h.template, err = text.Parse(h.Text); err != nil {
			return err
		}
		if h.Remember > 0 && h.template.NeedsBody() {
			return errors.New("text shows fields of one request, but with remember an approval is good for others: leave one of them out")
		}
	}
	if h.RequireLoA != "" {
		if h.loa, err = ciba.ParseLoA(h.RequireLoA); err != nil {
			return fmt.Errorf("parsing require_loa: %w", err)
		}
	}
	h.origins = http.NewCrossOriginProtection()
	for _, origin := range h.TrustedOrigins {
		if err := h.origins.AddTrustedOrigin(origin); err != nil {
			return fmt.Errorf("reading trusted_origins: %w", err)
		}
	}
	if h.MaxBody == 0 {
		h.MaxBody = defaultMaxBody
	}
	if h.MaxBody > h.app.maxBodies {
		return fmt.Errorf("max_body is more than all bodies together may have: raise max_bodies of the global option step_up to at least %d bytes", h.MaxBody)
	}
	rules, err := json.Marshal(h.rules())
	if err != nil {
		return err
	}
	sum := sha256.Sum256(rules)
	h.version = base64.RawURLEncoding.EncodeToString(sum[:])
	return nil
}

// rules are what a person relies on when they approve. An approval that was
// given under other rules is not found.
func (h *Handler) rules() []any {
	return []any{h.Policy, h.User, h.UUID, h.Text, h.Action, h.Remember, h.RequireLoA}
}

// Validate refuses settings that make no sense.
func (h *Handler) Validate() error {
	if _, ok := actions[h.Action]; !ok {
		return fmt.Errorf("unknown action '%s': use approve, confirm, accept, sign or log_on", h.Action)
	}
	switch h.Respond {
	case "", respondAuto, respondPage, respondHold, respondChallenge:
	default:
		return fmt.Errorf("unknown respond '%s': use auto, page, hold or challenge", h.Respond)
	}
	switch {
	case h.Remember < 0:
		return errors.New("remember must not be negative")
	case h.Hold < 0:
		return errors.New("hold must not be negative")
	case h.MaxBody < 0 || h.MaxBody > maxMaxBody:
		return errors.New("max_body must be between 1 byte and 1 GiB")
	case h.Remember > 0 && h.Policy == "":
		return errors.New("a route with remember needs a policy: a name that no other route shares by chance")
	}
	return nil
}

// The ways to wait.
const (
	respondAuto      = "auto"
	respondPage      = "page"
	respondHold      = "hold"
	respondChallenge = "challenge"
)

// actions maps the names of headings to MitID's.
var actions = map[string]string{
	"":        "APPROVE",
	"approve": "APPROVE",
	"confirm": "CONFIRM",
	"accept":  "ACCEPT",
	"sign":    "SIGN",
	"log_on":  "LOG_ON",
}

// ServeHTTP passes the request on if it is approved, and answers it otherwise.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	passage := h.pass(w, r)
	if passage == nil {
		return nil
	}
	defer passage.end()
	passage.announce(h, r)
	// The only way to the handlers behind.
	return next.ServeHTTP(w, r)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
