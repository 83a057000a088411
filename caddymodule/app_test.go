package caddymodule

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"

	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
)

// object is JSON.
type object = map[string]any

const (
	testIssuer = "https://op.example"
	testSecret = "a-secret-that-nobody-prints"
)

// testConfig is a configuration of Caddy with one gated route. It writes no
// files but in a folder of the test's own. The function may change the app and
// the route.
func testConfig(t testing.TB, change func(app, route object)) []byte {
	t.Helper()
	app := object{"issuer": testIssuer, "client_id": "bank", "client_secret": testSecret}
	route := object{"handler": "step_up", "uuid": "{http.vars.uuid}"}
	if change != nil {
		change(app, route)
	}
	dir := t.TempDir()
	config, err := json.Marshal(object{
		"admin":   object{"disabled": true, "config": object{"persist": false}},
		"logging": object{"logs": object{"default": object{"writer": object{"output": "discard"}}}},
		"storage": object{"module": "file_system", "root": dir},
		"apps": object{
			"tls":     object{"disable_storage_check": true, "disable_storage_clean": true},
			"step_up": app,
			"http": object{"servers": object{"gate": object{
				"listen": []string{"unix/" + filepath.Join(dir, "gate.sock")},
				"routes": []object{{"handle": []object{route}}},
			}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// validate provisions a configuration and cleans up, as `caddy validate` does.
func validate(t *testing.T, config []byte) error {
	t.Helper()
	var c caddy.Config
	if err := json.Unmarshal(config, &c); err != nil {
		t.Fatal(err)
	}
	return caddy.Validate(&c)
}

// pooled returns what a pool holds.
func pooled(pool *caddy.UsagePool) map[any]any {
	values := make(map[any]any)
	pool.Range(func(key, value any) bool {
		values[key] = value
		return true
	})
	return values
}

func wantEmptyPools(t *testing.T) {
	t.Helper()
	if e, s := pooled(engines), pooled(stores); len(e) != 0 || len(s) != 0 {
		t.Fatalf("the pools hold %d engines and %d stores, want none", len(e), len(s))
	}
}

func TestConfig_accepts(t *testing.T) {
	t.Setenv("STEP_UP_TEST_SECRET", testSecret)
	users := filepath.Join(t.TempDir(), "users.csv")
	if err := os.WriteFile(users, []byte("alice,"+uuidAlice), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(app, route object){
		"the least":                   nil,
		"a secret in the environment": func(app, _ object) { app["client_secret"] = "{env.STEP_UP_TEST_SECRET}" },
		"client_secret_basic":         func(app, _ object) { app["client_auth"] = "client_secret_basic" },
		"http on a loopback host":     func(app, _ object) { app["issuer"] = "http://localhost:8080" },
		"a key":                       func(app, _ object) { app["key"] = strings.Repeat("k", 16) },
		"no cancel":                   func(app, _ object) { app["endpoints"] = object{"cancel": "off"} },
		"budgets": func(app, _ object) {
			app["budgets"] = object{"user": object{"off": true}, "address": object{"burst": 1, "per": "1s"}}
		},
		"redis": func(app, _ object) {
			app["store"] = object{"module": "redis", "urls": []string{"redis://localhost"}}
		},
		"a directory instead of uuid": func(app, route object) {
			app["directory"] = object{"module": "file", "path": users}
			delete(route, "uuid")
		},
		"a form's text": func(_, route object) { route["text"] = "Betal {step_up.form.amount} kr." },
		"remember":      func(_, route object) { route["remember"], route["policy"] = "5m", "transfers" },
		"remember and a text": func(_, route object) {
			route["remember"], route["policy"], route["text"] = "5m", "transfers", "Log på"
		},
		"trusted origins": func(_, route object) { route["trusted_origins"] = []string{"https://portal.example"} },
		"everything at once": func(_, route object) {
			maps.Copy(route, object{
				"user": "{http.vars.user}", "action": "log_on", "respond": "challenge", "hold": "10s",
				"max_body": 1, "require_loa": "high", "headers": true, "supersede": true, "policy": "p",
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := validate(t, testConfig(t, change)); err != nil {
				t.Error(err)
			}
			wantEmptyPools(t)
		})
	}
}

// Each mistake keeps the configuration from loading, with an error that says
// what is wrong and does not show the secret.
func TestConfig_refuses(t *testing.T) {
	t.Setenv("STEP_UP_TEST_EMPTY", "")
	for _, tt := range []struct {
		name, want string
		change     func(app, route object)
	}{
		{"no issuer", "issuer is missing", func(app, _ object) { delete(app, "issuer") }},
		{"no client id", "client_id is missing", func(app, _ object) { delete(app, "client_id") }},
		{"no client secret", "client_secret is missing", func(app, _ object) { delete(app, "client_secret") }},
		{"empty client secret", "client_secret is missing", func(app, _ object) { app["client_secret"] = "" }},
		{
			"placeholder that is not set", "{env.STEP_UP_TEST_UNSET}",
			func(app, _ object) { app["client_secret"] = "{env.STEP_UP_TEST_UNSET}" },
		},
		{
			"placeholder that is empty", "resolving client_id: ",
			func(app, _ object) { app["client_id"] = "{env.STEP_UP_TEST_EMPTY}" },
		},
		{
			"file that is not there", "{file./none/secret}",
			func(app, _ object) { app["client_secret"] = "{file./none/secret}" },
		},
		{
			"placeholder that nobody knows", "{unheard.of}",
			func(app, _ object) { app["issuer"] = "{unheard.of}" },
		},
		{
			"key's placeholder that is not set", "{env.STEP_UP_TEST_UNSET}",
			func(app, _ object) { app["key"] = "{env.STEP_UP_TEST_UNSET}" },
		},
		{"short key", "key has fewer than 16 characters", func(app, _ object) { app["key"] = strings.Repeat("k", 15) }},
		{"unknown client_auth", "unknown client_auth 'private_key_jwt'", func(app, _ object) { app["client_auth"] = "private_key_jwt" }},
		{"http issuer on another machine", "http is only accepted for loopback hosts", func(app, _ object) { app["issuer"] = "http://op.example" }},
		{"issuer that is no URL", "checking issuer: ", func(app, _ object) { app["issuer"] = "op.example" }},
		{"scope without openid", "it must contain openid", func(app, _ object) { app["scope"] = []string{"mitid"} }},
		{
			"http endpoint on another machine", "http is only accepted for loopback hosts",
			func(app, _ object) { app["endpoints"] = object{"token": "http://op.example/token"} },
		},
		{
			"endpoint's placeholder that is not set", "resolving endpoint token: ",
			func(app, _ object) { app["endpoints"] = object{"token": "{env.STEP_UP_TEST_UNSET}"} },
		},
		{"budget without a time", "budget for user: ", func(app, _ object) { app["budgets"] = object{"user": object{"burst": 1}} }},
		{"budget without a burst", "budget for address: ", func(app, _ object) { app["budgets"] = object{"address": object{"per": "1s"}} }},
		{
			"negative budget", "budget for address: ",
			func(app, _ object) { app["budgets"] = object{"address": object{"burst": -1, "per": "1s"}} },
		},
		{"unknown store", "step_up.stores.etcd", func(app, _ object) { app["store"] = object{"module": "etcd"} }},
		{"redis without a URL", "redis store has no URL", func(app, _ object) { app["store"] = object{"module": "redis"} }},
		{
			"redis with a placeholder that is not set", "resolving redis URL: ",
			func(app, _ object) {
				app["store"] = object{"module": "redis", "urls": []string{"{env.STEP_UP_TEST_UNSET}"}}
			},
		},
		{
			"redis with a URL of something else", "parsing URL 1 of Redis: ",
			func(app, _ object) {
				app["store"] = object{"module": "redis", "urls": []string{"https://localhost"}}
			},
		},
		{
			"redis that is a cluster with sentinels", "a Redis Cluster has no Sentinels",
			func(app, _ object) {
				app["store"] = object{"module": "redis", "urls": []string{"redis://localhost"}, "cluster": true, "master_name": "m"}
			},
		},
		{"unknown directory", "step_up.directories.ldap", func(app, _ object) { app["directory"] = object{"module": "ldap"} }},
		{
			"directory that is not there", "opening the directory: ",
			func(app, _ object) { app["directory"] = object{"module": "file", "path": "/none/users.csv"} },
		},
		{"unknown option of the app", "unknown field", func(app, _ object) { app["client_secert"] = "x" }},

		{"neither directory nor uuid", "nothing tells a user's MitID UUID", func(_, route object) { delete(route, "uuid") }},
		{"text that is not closed", "is not closed", func(_, route object) { route["text"] = "Betal {step_up.form.amount" }},
		{"text of an unknown field", "is unknown", func(_, route object) { route["text"] = "Betal {step_up.from.amount}" }},
		{"text that is too long", "shorten it", func(_, route object) { route["text"] = strings.Repeat("x", 131) }},
		{
			"text of a form's field, remembered for others", "leave one of them out",
			func(_, route object) {
				route["remember"], route["policy"], route["text"] = "5m", "p", "Betal {step_up.form.amount} kr."
			},
		},
		{
			"text of a query's field, remembered for others", "leave one of them out",
			func(_, route object) {
				route["remember"], route["policy"], route["text"] = "5m", "p", "Betal {step_up.query.amount} kr."
			},
		},
		{
			"text of a JSON field, remembered for others", "leave one of them out",
			func(_, route object) {
				route["remember"], route["policy"], route["text"] = "5m", "p", "Betal {step_up.json.amount} kr."
			},
		},
		{"remember without a policy", "a route with remember needs a policy", func(_, route object) { route["remember"] = "5m" }},
		{"negative remember", "remember must not be negative", func(_, route object) { route["remember"] = -1 }},
		{"negative hold", "hold must not be negative", func(_, route object) { route["hold"] = "-1s" }},
		{"certificates without TLS", "certificates for Redis are for TLS: write rediss:// in its URLs", func(app, _ object) {
			app["store"] = object{"module": "redis", "urls": []string{"redis://localhost"}, "cert_file": "cert.pem", "key_file": "key.pem"}
		}},
		{"authorities that are not there", "reading ca_file: open /nowhere/ca.pem", func(app, _ object) {
			app["store"] = object{"module": "redis", "urls": []string{"rediss://localhost"}, "ca_file": "/nowhere/ca.pem"}
		}},
		{"a certificate without its key", "a certificate for Redis and its key go together", func(app, _ object) {
			app["store"] = object{"module": "redis", "urls": []string{"rediss://localhost"}, "cert_file": "/nowhere/cert.pem"}
		}},
		{"negative max_held", "max_held and max_bodies must be positive", func(app, _ object) { app["max_held"] = -1 }},
		{"negative max_bodies", "max_held and max_bodies must be positive", func(app, _ object) { app["max_bodies"] = -1 }},
		{"max_body above max_bodies", "max_body is more than all bodies together may have: raise max_bodies", func(app, route object) {
			app["max_bodies"], route["max_body"] = 1000, 1001
		}},
		{"negative max_body", "max_body must be between 1 byte and 1 GiB", func(_, route object) { route["max_body"] = -1 }},
		{"unknown action", "unknown action 'transfer'", func(_, route object) { route["action"] = "transfer" }},
		{"unknown respond", "unknown respond 'json'", func(_, route object) { route["respond"] = "json" }},
		{"unknown level of assurance", "parsing require_loa: ", func(_, route object) { route["require_loa"] = "medium" }},
		{
			"trusted origin with a path", "reading trusted_origins: ",
			func(_, route object) { route["trusted_origins"] = []string{"https://portal.example/"} },
		},
		{
			"trusted origin that is every origin", "reading trusted_origins: ",
			func(_, route object) { route["trusted_origins"] = []string{"*"} },
		},
		{"unknown option of the route", "unknown field", func(_, route object) { route["rembember"] = "5m" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := validate(t, testConfig(t, tt.change))
			if err == nil {
				t.Fatalf("accepted, want error: %s", tt.want)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error:  %v\nwant error: %s", err, tt.want)
			}
			if strings.Contains(err.Error(), testSecret) {
				t.Errorf("error shows the client secret: %v", err)
			}
			wantEmptyPools(t)
		})
	}
}

func TestConfig_refusesRouteWithoutApp(t *testing.T) {
	var config map[string]object
	if err := json.Unmarshal(testConfig(t, nil), &config); err != nil {
		t.Fatal(err)
	}
	delete(config["apps"], "step_up")
	withoutApp, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(t, withoutApp); err == nil || !strings.Contains(err.Error(), "add the global option step_up") {
		t.Errorf("got error %v, want one that says to add the global option", err)
	}
}

// `caddy validate` works offline, and a configuration loads while the broker or
// Redis is down.
func TestConfig_provisionsWithoutConnecting(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	address := listener.Addr().String()
	for _, store := range []object{
		{"module": "redis", "urls": []string{"redis://" + address}},
		{"module": "redis", "urls": []string{"redis://" + address}, "master_name": "m"},
		{"module": "redis", "urls": []string{"redis://" + address}, "cluster": true},
	} {
		err := validate(t, testConfig(t, func(app, _ object) {
			app["issuer"] = "http://" + address
			app["endpoints"] = object{"jwks": "http://" + address + "/keys"}
			app["store"] = store
		}))
		if err != nil {
			t.Fatal(err)
		}
	}
	// Connections are accepted in their order: the first must be this one.
	mine, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	first, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if first.RemoteAddr().String() != mine.LocalAddr().String() {
		t.Error("provisioning has made a connection")
	}
}

// provisionApp provisions an app as Caddy does, without starting it.
func provisionApp(t testing.TB, change func(app object)) (*App, caddy.Context) {
	t.Helper()
	var config map[string]object
	err := json.Unmarshal(testConfig(t, func(app, _ object) {
		if change != nil {
			change(app)
		}
	}), &config)
	if err != nil {
		t.Fatal(err)
	}
	delete(config["apps"], "http")
	encoded, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	var c caddy.Config
	if err := json.Unmarshal(encoded, &c); err != nil {
		t.Fatal(err)
	}
	ctx, err := caddy.ProvisionContext(&c)
	if err != nil {
		t.Fatal(err)
	}
	app, err := ctx.AppIfConfigured("step_up")
	if err != nil {
		t.Fatal(err)
	}
	return app.(*App), ctx
}

func TestApp_givesBackWhatItHolds(t *testing.T) {
	wantEmptyPools(t)
	first, _ := provisionApp(t, nil)
	second, _ := provisionApp(t, nil)
	wantEmptyPools(t)
	if first.engineKey != second.engineKey {
		t.Fatal("the same configuration has two engines")
	}
	references := func(want int) {
		t.Helper()
		if got, _ := engines.References(first.engineKey); got != want {
			t.Errorf("the engine has %d references, want %d", got, want)
		}
		// The engine holds its store once, however many hold the engine.
		if got, _ := stores.References("memory"); got != min(want, 1) {
			t.Errorf("the store has %d references, want %d", got, min(want, 1))
		}
	}
	cleanUp := func(a *App) {
		t.Helper()
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
		for range 2 { // Caddy may come twice
			if err := a.Cleanup(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, a := range []*App{first, second} {
		if err := a.Start(); err != nil {
			t.Fatal(err)
		}
		references(i + 1)
	}
	cleanUp(first)
	references(1)

	// A request that is held outlives the configuration.
	held, err := second.hold()
	if err != nil {
		t.Fatal(err)
	}
	cleanUp(second)
	references(1)
	if pooled(engines)[first.engineKey] != any(held) {
		t.Error("the request holds another engine")
	}
	second.release()
	wantEmptyPools(t)

	// So does one that comes when it is over.
	if _, err := second.hold(); err != nil {
		t.Fatal(err)
	}
	references(1)
	second.release()
	wantEmptyPools(t)
}

func TestApp_cleansUpAfterFailedProvision(t *testing.T) {
	wantEmptyPools(t)
	a := new(App)
	_, ctx := provisionApp(t, nil)
	if err := a.Provision(ctx); err == nil {
		t.Fatal("an empty app was provisioned")
	}
	if err := a.Cleanup(); err != nil {
		t.Error(err)
	}
	wantEmptyPools(t)
}

// Two configurations share an engine only if they would ask and poll alike.
func TestApp_engineKeyChangesWithEverySetting(t *testing.T) {
	key := func(change func(app object)) string {
		t.Helper()
		a, _ := provisionApp(t, change)
		return a.engineKey
	}
	base := key(nil)
	if strings.Contains(base, testSecret) {
		t.Error("the pool's key shows the client secret")
	}
	seen := map[string]string{base: "the app itself"}
	for name, change := range map[string]func(app object){
		"issuer":          func(app object) { app["issuer"] = "https://other.example" },
		"client_id":       func(app object) { app["client_id"] = "other" },
		"client_secret":   func(app object) { app["client_secret"] = "other" },
		"client_auth":     func(app object) { app["client_auth"] = "client_secret_basic" },
		"scope":           func(app object) { app["scope"] = []string{"openid"} },
		"start endpoint":  func(app object) { app["endpoints"] = object{"backchannel_authentication": "https://op.example/x"} },
		"token endpoint":  func(app object) { app["endpoints"] = object{"token": "https://op.example/x"} },
		"jwks endpoint":   func(app object) { app["endpoints"] = object{"jwks": "https://op.example/x"} },
		"cancel endpoint": func(app object) { app["endpoints"] = object{"cancel": "https://op.example/x"} },
		"no cancel":       func(app object) { app["endpoints"] = object{"cancel": "off"} },
		"key":             func(app object) { app["key"] = "0123456789abcdef" },
		"client_secret beside a key": func(app object) {
			app["key"], app["client_secret"] = "0123456789abcdef", "other"
		},
		"budget of a user":    func(app object) { app["budgets"] = object{"user": object{"burst": 1, "per": "1s"}} },
		"budget of addresses": func(app object) { app["budgets"] = object{"address": object{"burst": 1, "per": "1s"}} },
		"redis":               func(app object) { app["store"] = object{"module": "redis", "urls": []string{"redis://a"}} },
		"another redis":       func(app object) { app["store"] = object{"module": "redis", "urls": []string{"redis://b"}} },
		"redis of others": func(app object) {
			app["store"] = object{"module": "redis", "urls": []string{"redis://a"}, "prefix": "other:"}
		},
	} {
		got := key(change)
		if other, ok := seen[got]; ok {
			t.Errorf("%s: has the engine of %s", name, other)
		}
		seen[got] = name
	}
}

// A file of authorities that has been replaced means other servers.
func TestRedisStore_readsItsAuthoritiesAgainAtReload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	key := func() string {
		t.Helper()
		certs := redistest.NewCertificates(t)
		if err := os.WriteFile(file, certs.Authorities, 0o600); err != nil {
			t.Fatal(err)
		}
		a, _ := provisionApp(t, func(app object) {
			app["store"] = object{"module": "redis", "urls": []string{"rediss://a"}, "ca_file": file}
		})
		return a.engineKey
	}
	if key() == key() {
		t.Error("the engine goes on with the authorities of before")
	}
}

// With a key of its own, what is pending stays readable when the client secret
// changes; without, the store's secret is derived from it.
func TestApp_storeSecret(t *testing.T) {
	secret := func(change func(app object)) string {
		a, _ := provisionApp(t, change)
		return string(a.secret)
	}
	withKey := func(app object) { app["key"] = "0123456789abcdef" }
	rotated := func(app object) { app["client_secret"] = "another" }
	base := secret(nil)
	if base != secret(nil) {
		t.Error("two gateways with the same configuration cannot read each other's approvals")
	}
	if len(base) != 32 || strings.Contains(base, testSecret) {
		t.Error("the store's secret is not derived")
	}
	if base == secret(rotated) {
		t.Error("another client secret gives the same store secret")
	}
	if base == secret(func(app object) { app["client_id"] = "other" }) || base == secret(func(app object) { app["issuer"] = "https://other.example" }) {
		t.Error("another client or issuer gives the same store secret")
	}
	if got := secret(withKey); got != "0123456789abcdef" || got != secret(func(app object) { withKey(app); rotated(app) }) {
		t.Error("the key is not the store's secret")
	}
}

// Caddy writes the configuration to disk and into its admin API.
func TestApp_keepsPlaceholdersInItsConfiguration(t *testing.T) {
	t.Setenv("STEP_UP_TEST_SECRET", testSecret)
	a, _ := provisionApp(t, func(app object) {
		app["client_secret"], app["key"] = "{env.STEP_UP_TEST_SECRET}", "{env.STEP_UP_TEST_SECRET}"
	})
	encoded, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(encoded), testSecret) || strings.Count(string(encoded), "{env.STEP_UP_TEST_SECRET}") != 2 {
		t.Errorf("configuration reads %s", encoded)
	}
}

// The pool prints its values when it panics.
func TestPool_hidesItsValues(t *testing.T) {
	if got := fmt.Sprintf("%#v %#v", &store{}, &engine{storeKey: "key"}); got != "caddymodule.store{…} caddymodule.engine{…}" {
		t.Errorf("prints %s", got)
	}
}

// An approval that was remembered under other rules is not found.
func TestHandler_versionChangesWithEveryRule(t *testing.T) {
	_, ctx := provisionApp(t, nil)
	version := func(change object) string {
		t.Helper()
		route := object{"uuid": "{http.vars.uuid}", "policy": "p", "remember": "5m", "text": "x"}
		maps.Copy(route, change)
		encoded, err := json.Marshal(route)
		if err != nil {
			t.Fatal(err)
		}
		h, err := ctx.LoadModuleByID("http.handlers.step_up", encoded)
		if err != nil {
			t.Fatal(err)
		}
		return h.(*Handler).version
	}
	base := version(nil)
	seen := map[string]string{base: "the route itself"}
	for name, change := range map[string]object{
		"policy":      {"policy": "q"},
		"user":        {"user": "{http.vars.user}"},
		"uuid":        {"uuid": "{http.vars.other}"},
		"text":        {"text": "y"},
		"action":      {"action": "sign"},
		"remember":    {"remember": "6m"},
		"require_loa": {"require_loa": "high"},
	} {
		got := version(change)
		if other, ok := seen[got]; ok {
			t.Errorf("%s: has the version of %s", name, other)
		}
		seen[got] = name
	}
	for name, change := range map[string]object{
		"the same":                {},
		"the default user":        {"user": "{http.auth.user.id}"},
		"how it waits":            {"respond": "page", "hold": "1s"},
		"what the upstream hears": {"headers": true},
	} {
		if version(change) != base {
			t.Errorf("%s: loses what was remembered", name)
		}
	}
}

// A reload loses nothing: the engine and the store live on.
func TestLoad_keepsEngineAndStore(t *testing.T) {
	wantEmptyPools(t)
	config := testConfig(t, nil)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		wantEmptyPools(t)
	})
	load := func(config []byte) (e *engine, s *store) {
		t.Helper()
		if err := caddy.Load(config, true); err != nil {
			t.Fatal(err)
		}
		loaded := pooled(engines)
		if len(loaded) != 1 || len(pooled(stores)) != 1 {
			t.Fatalf("the pools hold %d engines and %d stores, want one each", len(loaded), len(pooled(stores)))
		}
		for key, value := range loaded {
			e = value.(*engine)
			if got, _ := engines.References(key); got != 1 {
				t.Errorf("the engine has %d references, want 1", got)
			}
		}
		if got, _ := stores.References("memory"); got != 1 {
			t.Errorf("the store has %d references, want 1", got)
		}
		return e, pooled(stores)["memory"].(*store)
	}
	firstEngine, firstStore := load(config)
	for range 2 {
		if e, s := load(config); e != firstEngine || s != firstStore {
			t.Error("the same configuration has another engine or store")
		}
	}
	if e, s := load(testConfig(t, func(_, route object) { route["respond"] = "page" })); e != firstEngine || s != firstStore {
		t.Error("a changed route has another engine or store")
	}
	e, s := load(testConfig(t, func(app, _ object) { app["client_secret"] = "changed" }))
	if e == firstEngine {
		t.Error("a changed client secret has the old engine")
	}
	if s != firstStore {
		t.Error("a changed client secret has lost the memory store")
	}

	// A configuration that does not load leaves everything as it is.
	if err := caddy.Load(testConfig(t, func(_, route object) { route["hold"] = -1 }), true); err == nil {
		t.Fatal("a bad configuration was loaded")
	}
	if len(pooled(engines)) != 1 || pooled(stores)["memory"] != any(firstStore) {
		t.Error("a bad configuration has changed the engine or the store")
	}
}
