package ciba

import (
	"net/http"
	"strings"
	"testing"
)

// start makes any start, for what happens before and around it.
func start(t *testing.T, c *Client) error {
	t.Helper()
	_, err := c.Start(t.Context(), Request{LoginHintToken: "x"})
	return err
}

const acknowledged = `{"auth_req_id":"` + testID + `","expires_in":300,"interval":5}`

func TestDiscovery_refuses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change map[string]any
		want   string
	}{
		{"another issuer", map[string]any{"issuer": "https://evil.example"}, "issuer"},
		{"issuer with slash", map[string]any{"issuer": testIssuer + "/"}, "issuer"},
		{"no issuer", map[string]any{"issuer": nil}, "issuer"},
		{"endpoint of http", map[string]any{"backchannel_authentication_endpoint": "http://op.example/ciba"}, "https"},
		{"endpoint of http on this machine, from a provider elsewhere", map[string]any{"token_endpoint": "http://127.0.0.1/token"}, "https"},
		{"keys of http", map[string]any{"jwks_uri": "http://op.example/jwks"}, "https"},
		{"endpoint no string", map[string]any{"token_endpoint": 1}, "not a string"},
		{"endpoint no URL", map[string]any{"token_endpoint": "/connect/token"}, "https"},
		{"endpoint missing", map[string]any{"backchannel_authentication_endpoint": nil}, "configure one"},
		{"push only", map[string]any{"backchannel_token_delivery_modes_supported": []string{"push"}}, "poll"},
		{"delivery modes no array", map[string]any{"backchannel_token_delivery_modes_supported": "poll"}, "poll"},
		{"keys for client authentication only", map[string]any{"token_endpoint_auth_methods_supported": []string{"private_key_jwt"}}, "authentication method"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newProvider()
			p.on(pathDiscovery, 200, discovery(tc.change))
			p.on(pathStart, 200, acknowledged)
			e := wantKind(t, start(t, newClient(t, p, nil)), ErrConfiguration)
			if e.Endpoint != "discovery" || !strings.Contains(e.Error(), tc.want) {
				t.Errorf("got %q, want it to be about discovery and %q", e, tc.want)
			}
			if p.count(pathStart) != 0 {
				t.Error("credentials were sent all the same")
			}
		})
	}
}

func TestDiscovery_acceptsWithoutOptionalMembers(t *testing.T) {
	p := newProvider()
	p.on(pathDiscovery, 200, discovery(map[string]any{
		"backchannel_token_delivery_modes_supported": nil,
		"token_endpoint_auth_methods_supported":      nil,
	}))
	p.on(pathStart, 200, acknowledged)
	if err := start(t, newClient(t, p, nil)); err != nil {
		t.Fatal(err)
	}
}

func TestDiscovery_acceptsHTTPOnLoopbackIssuer(t *testing.T) {
	const issuer = "http://127.0.0.1:9000/op"
	p := newProvider()
	p.on(pathDiscovery, 200, strings.ReplaceAll(discovery(nil), testIssuer, issuer))
	p.on(pathStart, 200, acknowledged)
	if err := start(t, newClient(t, p, func(c *Config) { c.Issuer = issuer })); err != nil {
		t.Fatal(err)
	}
}

func TestDiscovery_unavailable(t *testing.T) {
	for _, tc := range []struct {
		name  string
		reply reply
	}{
		{"server error", reply{status: 502, body: discovery(nil)}},
		{"not found", reply{status: 404}},
		{"HTML", reply{status: 200, body: "<html>"}},
		{"array", reply{status: 200, body: "[]"}},
		{"broken JSON", reply{status: 200, body: discovery(nil)[:100]}},
		{"more than the document", reply{status: 200, body: discovery(nil) + "{}"}},
		{"issuer twice", reply{status: 200, body: `{"issuer":"x",` + discovery(nil)[1:]}},
		{"larger than 1 MiB", reply{status: 200, body: discovery(map[string]any{"x": strings.Repeat("x", 1<<20)})}},
		{"redirect", reply{status: 302, header: http.Header{"Location": {"https://op.example/op/elsewhere"}}, body: discovery(nil)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newProvider()
			p.handle(pathDiscovery, func(request) reply { return tc.reply })
			p.on("GET /op/elsewhere", 200, discovery(nil))
			p.on(pathStart, 200, acknowledged)
			if e := wantKind(t, start(t, newClient(t, p, nil)), ErrUnavailable); e.Endpoint != "discovery" {
				t.Errorf("error names endpoint %q", e.Endpoint)
			}
			if p.count("GET /op/elsewhere") != 0 {
				t.Error("redirect was followed")
			}
		})
	}
}

// What is configured is not looked up, so that discovery may be away, or not
// exist.
func TestDiscovery_notNeededWhereAllIsConfigured(t *testing.T) {
	p := newProvider(jwk(rsaKey(), "sig", "sig", ""))
	p.on(pathDiscovery, 500, "")
	p.on("POST /a", 200, acknowledged)
	p.on("POST /b", 200, `{"id_token":"x"}`)
	p.on("GET /c", 200, `{"keys":[`+jwk(rsaKey(), "sig", "sig", "")+`]}`)
	c := newClient(t, p, func(c *Config) {
		at(tokenTime)(c)
		c.Endpoints = Endpoints{BackchannelAuthentication: "https://o.example/a", Token: "https://o.example/b", JWKS: "https://o.example/c"}
		c.Algorithms = []string{"RS256"}
	})
	if err := start(t, c); err != nil {
		t.Error(err)
	}
	if _, err := c.Poll(t.Context(), testID); err != nil {
		t.Error(err)
	}
	if _, err := c.Verify(t.Context(), Tokens{IDToken: sign("RS256", rsaKey(), tokenHeader, tokenClaims(nil))}, expected()); err != nil {
		t.Error(err)
	}
	if n := p.count(pathDiscovery); n != 0 {
		t.Errorf("discovery was fetched %d times", n)
	}
}

// Without pinned algorithms discovery is still asked for them.
func TestDiscovery_neededForAlgorithms(t *testing.T) {
	p := newProvider(jwk(rsaKey(), "sig", "sig", ""))
	p.on(pathDiscovery, 200, discovery(map[string]any{"id_token_signing_alg_values_supported": []string{"PS256"}}))
	c := newClient(t, p, func(c *Config) {
		at(tokenTime)(c)
		c.Endpoints.JWKS = testIssuer + "/jwks"
	})
	_, err := c.Verify(t.Context(), Tokens{IDToken: sign("RS256", rsaKey(), tokenHeader, tokenClaims(nil))}, expected())
	wantCheck(t, err, "signature")
	if n := p.count(pathDiscovery); n != 1 {
		t.Errorf("discovery was fetched %d times", n)
	}
}
