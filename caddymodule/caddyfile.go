package caddymodule

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/dustin/go-humanize"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("step_up", parseApp)
	httpcaddyfile.RegisterDirective("step_up", parseRoute)
	httpcaddyfile.RegisterDirectiveOrder("step_up", httpcaddyfile.After, "forward_auth")
}

// parseApp sets up the app from the global option. Syntax:
//
//	step_up {
//	    issuer        <url>
//	    client_id     <id>
//	    client_secret <secret>
//	    client_auth   client_secret_post|client_secret_basic
//	    scope         <scopes...>
//	    endpoints {
//	        backchannel_authentication <url>
//	        token                      <url>
//	        jwks                       <url>
//	        cancel                     <url>|off
//	    }
//	    key    <secret>
//	    budget user|address <burst> <per>
//	    budget user|address off
//	    max_held   <requests>
//	    max_bodies <size>
//	    store     <module> ...
//	    directory <module> ...
//	}
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next() // consume option name
	if existing != nil {
		return nil, d.Err("step_up already specified")
	}
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	app := new(App)
	for d.NextBlock(0) {
		var err error
		switch name := d.Val(); name {
		case "issuer":
			err = oneString(d, &app.Issuer)
		case "client_id":
			err = oneString(d, &app.ClientID)
		case "client_secret":
			err = oneString(d, &app.ClientSecret)
		case "client_auth":
			err = oneOf(d, &app.ClientAuth, "client_secret_post", "client_secret_basic")
		case "key":
			err = oneString(d, &app.Key)
		case "scope":
			if app.Scope != nil {
				return nil, d.Err("scope already specified")
			}
			if app.Scope = d.RemainingArgs(); len(app.Scope) == 0 {
				return nil, d.ArgErr()
			}
		case "endpoints":
			if app.Endpoints != nil {
				return nil, d.Err("endpoints already specified")
			}
			app.Endpoints, err = parseEndpoints(d)
		case "budget":
			if app.Budgets == nil {
				app.Budgets = new(Budgets)
			}
			err = parseBudget(d, app.Budgets)
		case "max_held":
			err = oneNumber(d, &app.MaxHeld)
		case "max_bodies":
			err = oneSize(d, &app.MaxBodies, 1<<40)
		case "store":
			err = oneModule(d, "step_up.stores.", &app.StoreRaw)
		case "directory":
			err = oneModule(d, "step_up.directories.", &app.DirectoryRaw)
		default:
			return nil, d.Errf("unrecognized option '%s'", name)
		}
		if err != nil {
			return nil, err
		}
	}
	return httpcaddyfile.App{Name: "step_up", Value: caddyconfig.JSON(app, nil)}, nil
}

func parseEndpoints(d *caddyfile.Dispenser) (*Endpoints, error) {
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	e := new(Endpoints)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch name := d.Val(); name {
		case "backchannel_authentication":
			err = oneString(d, &e.BackchannelAuthentication)
		case "token":
			err = oneString(d, &e.Token)
		case "jwks":
			err = oneString(d, &e.JWKS)
		case "cancel":
			err = oneString(d, &e.Cancel)
		default:
			return nil, d.Errf("unrecognized endpoint '%s'", name)
		}
		if err != nil {
			return nil, err
		}
	}
	return e, nil
}

func parseBudget(d *caddyfile.Dispenser, budgets *Budgets) error {
	args := d.RemainingArgs()
	if len(args) < 2 {
		return d.ArgErr()
	}
	var place **Budget
	switch args[0] {
	case "user":
		place = &budgets.User
	case "address":
		place = &budgets.Address
	default:
		return d.Errf("unrecognized budget '%s': use user or address", args[0])
	}
	if *place != nil {
		return d.Errf("budget %s already specified", args[0])
	}
	if len(args) == 2 && args[1] == "off" {
		*place = &Budget{Off: true}
		return nil
	}
	if len(args) != 3 {
		return d.ArgErr()
	}
	burst, err := strconv.Atoi(args[1])
	if err != nil || burst <= 0 {
		return d.Errf("budget %s: the burst must be a positive number, not '%s'", args[0], args[1])
	}
	per, err := caddy.ParseDuration(args[2])
	if err != nil || per <= 0 {
		return d.Errf("budget %s: the time must be a positive duration, not '%s'", args[0], args[2])
	}
	*place = &Budget{Burst: burst, Per: caddy.Duration(per)}
	return nil
}

// parseRoute sets up a gated route. Its syntax is at [Handler.UnmarshalCaddyfile].
func parseRoute(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	if !h.Next() {
		return nil, h.ArgErr()
	}
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	if handler.Policy == "" {
		if handler.Policy, err = nameRoute(h, matcher, handler); err != nil {
			return nil, err
		}
	}
	return h.NewRoute(matcher, handler), nil
}

// nameRoute makes a name for a route out of what it matches and its rules, so
// that the name stays while other parts of the Caddyfile change. Routes that
// are alike in both are told apart by their order.
func nameRoute(h httpcaddyfile.Helper, matcher caddy.ModuleMap, handler *Handler) (string, error) {
	identity, err := json.Marshal([]any{h.IsNamedRoute(), matcher, handler.rules()})
	if err != nil {
		return "", h.WrapErr(err)
	}
	sum := sha256.Sum256(identity)
	name := base64.RawURLEncoding.EncodeToString(sum[:9])
	count, _ := h.State["step_up "+name].(int)
	count++
	h.State["step_up "+name] = count
	return fmt.Sprintf("%s-%d", name, count), nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	step_up [<matcher>] {
//	    user     <placeholder>
//	    uuid     <placeholder>
//	    text     <template>
//	    action   approve|confirm|accept|sign|log_on
//	    remember <duration>
//	    respond  auto|page|hold|challenge
//	    hold     <duration>
//	    max_body <size>
//	    require  loa low|substantial|high
//	    headers
//	    supersede
//	    trusted_origins <origins...>
//	    policy   <name>
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		var err error
		switch name := d.Val(); name {
		case "user":
			err = oneString(d, &h.User)
		case "uuid":
			err = oneString(d, &h.UUID)
		case "text":
			err = oneString(d, &h.Text)
		case "action":
			err = oneOf(d, &h.Action, "approve", "confirm", "accept", "sign", "log_on")
		case "remember":
			err = oneDuration(d, &h.Remember)
		case "respond":
			err = oneOf(d, &h.Respond, respondAuto, respondPage, respondHold, respondChallenge)
		case "hold":
			err = oneDuration(d, &h.Hold)
		case "max_body":
			err = oneSize(d, &h.MaxBody, maxMaxBody)
		case "headers":
			err = oneFlag(d, &h.Headers)
		case "supersede":
			err = oneFlag(d, &h.Supersede)
		case "trusted_origins":
			if h.TrustedOrigins != nil {
				return d.Err("trusted_origins already specified")
			}
			if h.TrustedOrigins = d.RemainingArgs(); len(h.TrustedOrigins) == 0 {
				return d.ArgErr()
			}
		case "policy":
			err = oneString(d, &h.Policy)
		case "require":
			if !d.NextArg() {
				return d.ArgErr()
			}
			if d.Val() != "loa" {
				return d.Errf("unrecognized requirement '%s': there is loa", d.Val())
			}
			err = oneOf(d, &h.RequireLoA, "low", "substantial", "high")
		default:
			return d.Errf("unrecognized subdirective '%s'", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// oneString reads the one argument of an option that may be there once.
func oneString(d *caddyfile.Dispenser, out *string) error {
	name := d.Val()
	if *out != "" {
		return d.Errf("%s already specified", name)
	}
	if !d.AllArgs(out) {
		return d.ArgErr()
	}
	if *out == "" {
		return d.Errf("%s is empty", name)
	}
	return nil
}

// oneFlag reads an option without arguments that may be there once.
func oneFlag(d *caddyfile.Dispenser, out *bool) error {
	if *out {
		return d.Errf("%s already specified", d.Val())
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	*out = true
	return nil
}

// oneOf is oneString with a closed set of values.
func oneOf(d *caddyfile.Dispenser, out *string, values ...string) error {
	name := d.Val()
	if err := oneString(d, out); err != nil {
		return err
	}
	for _, v := range values {
		if *out == v {
			return nil
		}
	}
	return d.Errf("unrecognized %s '%s': use %s", name, *out, strings.Join(values, ", "))
}

func oneDuration(d *caddyfile.Dispenser, out *caddy.Duration) error {
	name := d.Val()
	if *out != 0 {
		return d.Errf("%s already specified", name)
	}
	var value string
	if err := oneString(d, &value); err != nil {
		return err
	}
	parsed, err := caddy.ParseDuration(value)
	switch {
	case err != nil:
		return d.Errf("parsing %s: %v", name, err)
	case parsed <= 0:
		return d.Errf("%s must be positive", name)
	}
	*out = caddy.Duration(parsed)
	return nil
}

// oneNumber reads a number that is at least 1.
func oneNumber(d *caddyfile.Dispenser, out *int64) error {
	name := d.Val()
	if *out != 0 {
		return d.Errf("%s already specified", name)
	}
	var value string
	if err := oneString(d, &value); err != nil {
		return err
	}
	parsed, err := strconv.ParseInt(value, 10, 64)
	if err != nil || parsed <= 0 {
		return d.Errf("%s must be a positive number, not '%s'", name, value)
	}
	*out = parsed
	return nil
}

// oneSize reads a size of at least one byte, and at most so many.
func oneSize(d *caddyfile.Dispenser, out *int64, most uint64) error {
	name := d.Val()
	if *out != 0 {
		return d.Errf("%s already specified", name)
	}
	var value string
	if err := oneString(d, &value); err != nil {
		return err
	}
	parsed, err := humanize.ParseBytes(value)
	switch {
	case err != nil:
		return d.Errf("parsing %s: %v", name, err)
	case parsed == 0 || parsed > most:
		return d.Errf("%s must be between 1 byte and %s", name, strings.Replace(humanize.IBytes(most), ".0", "", 1))
	}
	*out = int64(parsed)
	return nil
}

// oneModule reads a module with its own syntax.
func oneModule(d *caddyfile.Dispenser, namespace string, out *json.RawMessage) error {
	option := d.Val()
	if *out != nil {
		return d.Errf("%s already specified", option)
	}
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, namespace+name)
	if err != nil {
		return err
	}
	*out = caddyconfig.JSONModuleObject(module, "module", name, nil)
	return nil
}

// Interface guards
var _ caddyfile.Unmarshaler = (*Handler)(nil)
