package ciba

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestNew_checksConfiguration(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string // in the error, "" for none
	}{
		{"good", func(*Config) {}, ""},
		{"no issuer", func(c *Config) { c.Issuer = "" }, "issuer"},
		{"issuer of http", func(c *Config) { c.Issuer = "http://op.example" }, "issuer"},
		{"issuer of http on a name like localhost", func(c *Config) { c.Issuer = "http://localhost.example" }, "issuer"},
		{"issuer of http on a private address", func(c *Config) { c.Issuer = "http://10.0.0.1" }, "issuer"},
		{"issuer of http on localhost", func(c *Config) { c.Issuer = "http://localhost:9000/op" }, ""},
		{"issuer of http on 127.0.0.0/8", func(c *Config) { c.Issuer = "http://127.9.9.9/op" }, ""},
		{"issuer of http on ::1", func(c *Config) { c.Issuer = "http://[::1]:9000/op" }, ""},
		{"issuer of another scheme", func(c *Config) { c.Issuer = "ftp://op.example" }, "issuer"},
		{"issuer without host", func(c *Config) { c.Issuer = "https:///op" }, "issuer"},
		{"issuer relative", func(c *Config) { c.Issuer = "op.example" }, "issuer"},
		{"issuer no URL", func(c *Config) { c.Issuer = "https://op.example/%zz" }, "issuer"},
		{"issuer with query", func(c *Config) { c.Issuer = testIssuer + "?a=b" }, "query"},
		{"issuer with fragment", func(c *Config) { c.Issuer = testIssuer + "#" }, "fragment"},
		{"issuer with password", func(c *Config) { c.Issuer = "https://u:hunter2@op.example" }, "user or password"},
		{"endpoint of http", func(c *Config) { c.Endpoints.BackchannelAuthentication = "http://op.example/" }, "backchannel authentication endpoint"},
		{"token endpoint of http", func(c *Config) { c.Endpoints.Token = "http://op.example/" }, "token endpoint"},
		{"jwks of http", func(c *Config) { c.Endpoints.JWKS = "http://op.example/" }, "jwks endpoint"},
		{"cancel of http", func(c *Config) { c.Endpoints.Cancel = "http://op.example/" }, "cancel endpoint"},
		{"cancel with query", func(c *Config) { c.Endpoints.Cancel = "https://op.example/?a" }, "query"},
		{"no client id", func(c *Config) { c.ClientID = "" }, "client id"},
		{"no authentication", func(c *Config) { c.Auth = nil }, "authentication"},
		{"empty secret", func(c *Config) { c.Auth = ClientSecretPost("") }, "secret"},
		{"empty basic secret", func(c *Config) { c.Auth = ClientSecretBasic("") }, "secret"},
		{"scope without openid", func(c *Config) { c.Scope = "mitid openid2" }, "openid"},
		{"scope with line break", func(c *Config) { c.Scope = "openid\nmitid" }, "scope"},
		{"algorithm none", func(c *Config) { c.Algorithms = []string{"RS256", "none"} }, "algorithms"},
		{"algorithm HS256", func(c *Config) { c.Algorithms = []string{"HS256"} }, "algorithms"},
		{"negative skew", func(c *Config) { c.ClockSkew = -1 }, "skew"},
		{"negative age", func(c *Config) { c.MaxTokenAge = -1 }, "age"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := Config{Issuer: testIssuer, ClientID: testClient, Auth: ClientSecretPost(testSecret)}
			tc.change(&cfg)
			c, err := New(cfg)
			switch {
			case tc.want == "" && (err != nil || c == nil):
				t.Errorf("got error %v", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got error %v, want one about %q", err, tc.want)
			case err != nil && strings.Contains(err.Error(), "hunter2"):
				t.Error("error quotes a password")
			}
		})
	}
}

func TestNew_defaults(t *testing.T) {
	c, err := New(Config{Issuer: testIssuer + "/", ClientID: testClient, Auth: ClientSecretPost(testSecret)})
	if err != nil {
		t.Fatal(err)
	}
	if c.cfg.Scope != "openid" || c.cfg.ClockSkew != 30*time.Second || c.cfg.MaxTokenAge != 10*time.Minute ||
		c.cfg.Endpoints.Cancel != testIssuer+"/api/v1/ciba" {
		t.Errorf("defaults are not the documented ones")
	}
	if tr, ok := c.cfg.Transport.(*http.Transport); !ok || tr == http.DefaultTransport || tr.MaxResponseHeaderBytes == 0 || tr.TLSHandshakeTimeout == 0 || tr.Proxy == nil {
		t.Errorf("transport is not a bounded clone of the default one: %T", c.cfg.Transport)
	}
}

// The caller's slices stay the caller's.
func TestNew_copiesConfiguration(t *testing.T) {
	algs, auds := []string{"RS256"}, []string{"a"}
	c := newClient(t, newProvider(), func(c *Config) { c.Algorithms, c.TrustedAudiences = algs, auds })
	algs[0], auds[0] = "none", "b"
	if c.cfg.Algorithms[0] != "RS256" || c.cfg.TrustedAudiences[0] != "a" {
		t.Error("client changes with the caller's slice")
	}
}

// Whatever is printed or logged by accident, and with whatever verb, shows no
// secret and nothing of a person.
func TestRedaction(t *testing.T) {
	const secret = "hunter2"
	cfg := Config{Issuer: testIssuer, ClientID: testClient, Auth: ClientSecretBasic(secret)}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{
		"Config": cfg, "*Config": &cfg, "*Client": c, "Client in struct": struct{ C *Client }{c},
		"unexported Client": struct{ c *Client }{c}, "unexported Config": struct{ c Config }{cfg},
		"post": ClientSecretPost(secret), "basic": ClientSecretBasic(secret), "unexported auth": struct{ a ClientAuth }{cfg.Auth},
		"Request":   Request{LoginHintToken: secret, UserCode: secret},
		"Started":   Started{AuthReqID: secret},
		"Tokens":    Tokens{IDToken: secret, AccessToken: secret},
		"Expect":    Expect{UUID: secret, ReferenceText: secret},
		"Identity":  Identity{UUID: secret, Subject: secret},
		"MitIDHint": MitIDHint{UUID: secret, ReferenceText: secret, IP: secret},
	}
	for name, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if _, plain := v.(slog.LogValuer); plain && verb == "%d" && !strings.Contains(name, "C") {
				continue // fmt asks no method for %d, and these are plain data
			}
			got := fmt.Sprintf(verb, v)
			if strings.Contains(got, secret) || strings.Contains(got, fmt.Sprintf("%x", secret)) || strings.Contains(got, fmt.Sprint([]byte(secret))) {
				t.Errorf("%s printed with %s shows the secret: %s", name, verb, got)
			}
		}
		var b bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
			slog.New(h).Info("x", "v", v)
		}
		if strings.Contains(b.String(), secret) {
			t.Errorf("%s logged shows the secret: %s", name, b.String())
		}
	}
	if b, err := json.Marshal(Tokens{IDToken: secret}); err != nil || strings.Contains(string(b), secret) {
		t.Errorf("tokens become %s in JSON, error %v", b, err)
	}
	if got := fmt.Sprint(c); !strings.Contains(got, testIssuer) {
		t.Errorf("client prints as %q, without its issuer", got)
	}
	if got := fmt.Sprint((*Client)(nil)); got != "ciba.Client(nil)" {
		t.Errorf("nil client prints as %q", got)
	}
}
