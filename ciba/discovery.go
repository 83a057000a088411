package ciba

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// documentTimeout bounds the fetch of discovery and of keys.
const documentTimeout = 10 * time.Second

// metadata is what this client uses of a provider's metadata (OpenID Connect
// Discovery 1.0 §3, CIBA Core 1.0 §4). Endpoints may be empty.
type metadata struct {
	backchannelAuthentication string
	token                     string
	jwks                      string
	algorithms                []string // supported by both sides
}

// fetchMetadata gets the discovery document (OpenID Connect Discovery 1.0 §4).
func (c *Client) fetchMetadata(ctx context.Context) (metadata, time.Duration, error) {
	a, err := c.do(ctx, call{
		endpoint: endpointDiscovery,
		method:   http.MethodGet,
		url:      strings.TrimSuffix(c.cfg.Issuer, "/") + "/.well-known/openid-configuration",
		timeout:  documentTimeout,
	})
	if err != nil {
		return metadata{}, 0, err
	}
	if a.status != http.StatusOK {
		return metadata{}, 0, a.unavailable("")
	}
	members, err := parseObject(a.body)
	if err != nil {
		return metadata{}, 0, a.unavailable(err.Error())
	}
	method := ""
	if m, ok := c.cfg.Auth.(interface{ Method() string }); ok {
		method = m.Method()
	}
	m, err := parseMetadata(members, c.cfg.Issuer, method)
	if err != nil {
		return metadata{}, 0, a.fail(ErrConfiguration, err.Error())
	}
	return m, freshness(a.header), nil
}

// parseMetadata checks a provider's metadata against the configured issuer and
// the client's authentication method, which is not checked where it is empty.
func parseMetadata(members map[string]jsonValue, issuer, method string) (metadata, error) {
	// A document of another issuer would send the credentials to its endpoints
	// (OpenID Connect Discovery 1.0 §4.3).
	if got, _ := members["issuer"].text(); got != issuer {
		return metadata{}, errors.New("its issuer is not the configured one")
	}
	iss, err := url.Parse(issuer)
	if err != nil {
		return metadata{}, errors.New("the configured issuer is not a URL")
	}
	var m metadata
	for _, e := range []struct {
		name string
		to   *string
	}{
		{"backchannel_authentication_endpoint", &m.backchannelAuthentication},
		{"token_endpoint", &m.token},
		{"jwks_uri", &m.jwks},
	} {
		raw, ok := members[e.name]
		if !ok {
			continue
		}
		s, ok := raw.text()
		if !ok {
			return metadata{}, errors.New("its " + e.name + " is not a string")
		}
		u, err := checkURL(s)
		if err != nil {
			return metadata{}, errors.New("checking its " + e.name + ": " + err.Error())
		}
		// Plain http is for a provider on this machine, not for one that
		// points there.
		if u.Scheme == "http" && iss.Scheme != "http" {
			return metadata{}, errors.New("checking its " + e.name + ": it must be an https URL")
		}
		*e.to = s
	}
	for _, l := range []struct{ name, want, reason string }{
		{"backchannel_token_delivery_modes_supported", "poll", "the provider does not offer poll mode"},
		{"token_endpoint_auth_methods_supported", method, "the provider does not offer the client's authentication method: choose another one"},
	} {
		raw, ok := members[l.name]
		if !ok || l.want == "" {
			continue
		}
		if list, _ := raw.texts(); !slices.Contains(list, l.want) {
			return metadata{}, errors.New(l.reason)
		}
	}
	listed, _ := members["id_token_signing_alg_values_supported"].texts()
	for _, alg := range listed {
		if slices.Contains(supportedAlgorithms, alg) {
			m.algorithms = append(m.algorithms, alg)
		}
	}
	return m, nil
}

// endpoint is the configured URL of an endpoint, or where that is empty the one
// that pick finds in discovery.
func (c *Client) endpoint(ctx context.Context, configured string, pick func(metadata) string, name string) (string, error) {
	if configured != "" {
		return configured, nil
	}
	m, _, err := c.discovery.get(ctx)
	if err != nil {
		return "", err
	}
	u := pick(m)
	if u == "" {
		return "", &Error{Kind: ErrConfiguration, Endpoint: endpointDiscovery, Err: errors.New("it names no " + name + " endpoint: configure one")}
	}
	return u, nil
}

// algorithms are the configured algorithms, or where there are none those of
// discovery.
func (c *Client) algorithms(ctx context.Context) ([]string, error) {
	if len(c.cfg.Algorithms) > 0 {
		return c.cfg.Algorithms, nil
	}
	m, _, err := c.discovery.get(ctx)
	if err != nil {
		return nil, err
	}
	if len(m.algorithms) == 0 {
		return nil, &Error{Kind: ErrConfiguration, Endpoint: endpointDiscovery, Err: errors.New("it lists no algorithm for ID tokens that this client accepts: configure one")}
	}
	return m.algorithms, nil
}
