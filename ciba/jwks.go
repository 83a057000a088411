package ciba

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// supportedAlgorithms are the JWS algorithms that an ID token may have. All are
// asymmetric: with an HS algorithm, whoever knows the client secret could make
// tokens.
var supportedAlgorithms = []string{
	"RS256", "RS384", "RS512",
	"PS256", "PS384", "PS512",
	"ES256", "ES384", "ES512",
	"EdDSA",
}

const (
	// minRSABits is the least size of an RSA key (RFC 7518 §3.3).
	minRSABits = 2048

	// maxKeys bounds the keys that are read of a set.
	maxKeys = 100
)

// key is a public key that may sign ID tokens.
type key struct {
	id     string // its kid, may be empty
	alg    string // the only algorithm it may be used with, empty for any that fits
	public any    // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// keySet are a provider's signing keys.
type keySet []key

// fetchKeys gets the provider's keys.
func (c *Client) fetchKeys(ctx context.Context) (keySet, time.Duration, error) {
	u, err := c.endpoint(ctx, c.cfg.Endpoints.JWKS, func(m metadata) string { return m.jwks }, endpointJWKS)
	if err != nil {
		return nil, 0, err
	}
	a, err := c.do(ctx, call{endpoint: endpointJWKS, method: http.MethodGet, url: u, timeout: documentTimeout})
	if err != nil {
		return nil, 0, err
	}
	if a.status != http.StatusOK {
		return nil, 0, a.unavailable("")
	}
	set, err := parseKeys(a.body)
	if err != nil {
		return nil, 0, a.unavailable(err.Error())
	}
	return set, freshness(a.header), nil
}

// parseKeys reads a JWK set (RFC 7517 §5) and keeps the keys that may sign ID
// tokens. A key that cannot be read is passed over, as the standard asks; a set
// without any good key is an error, so that it never replaces a good set.
func parseKeys(body []byte) (keySet, error) {
	members, err := parseObject(body)
	if err != nil {
		return nil, err
	}
	var raws []json.RawMessage
	if err := json.Unmarshal(members["keys"], &raws); err != nil {
		return nil, errors.New("answer has no array of keys")
	}
	var set keySet
	for _, raw := range raws[:min(len(raws), maxKeys)] {
		var jwk jose.JSONWebKey
		var use struct {
			Ops []string `json:"key_ops"`
		}
		if jwk.UnmarshalJSON(raw) != nil || json.Unmarshal(raw, &use) != nil {
			continue
		}
		if jwk.Use != "" && jwk.Use != "sig" || use.Ops != nil && !slices.Contains(use.Ops, "verify") {
			continue
		}
		switch k := jwk.Key.(type) {
		case *rsa.PublicKey:
			if k.N.BitLen() < minRSABits {
				continue
			}
		case *ecdsa.PublicKey, ed25519.PublicKey:
		default:
			continue // symmetric and private keys do not belong into a public set
		}
		set = append(set, key{id: jwk.KeyID, alg: jwk.Algorithm, public: jwk.Key})
	}
	if len(set) == 0 {
		return nil, errors.New("answer has no usable signing key")
	}
	return set, nil
}

// fits tells whether the key may verify the algorithm.
func (k key) fits(alg string) bool {
	if k.alg != "" && k.alg != alg {
		return false
	}
	switch p := k.public.(type) {
	case *rsa.PublicKey:
		switch alg {
		case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
			return true
		}
	case *ecdsa.PublicKey:
		switch alg {
		case "ES256":
			return p.Curve == elliptic.P256()
		case "ES384":
			return p.Curve == elliptic.P384()
		case "ES512":
			return p.Curve == elliptic.P521()
		}
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}

// named are the keys of that kid. A token without kid means the only key.
func (s keySet) named(kid string) keySet {
	if kid == "" {
		if len(s) == 1 {
			return s
		}
		return nil
	}
	var named keySet
	for _, k := range s {
		if k.id == kid {
			named = append(named, k)
		}
	}
	return named
}

// verificationKeys are the provider's keys that may have signed a token with
// that kid and algorithm. It fetches the keys again for a kid it does not know,
// since the provider may have changed them.
func (c *Client) verificationKeys(ctx context.Context, kid, alg string) (jwt.VerificationKeySet, error) {
	asked := c.cfg.Now()
	set, fetchedAt, err := c.keys.get(ctx)
	if err != nil {
		return jwt.VerificationKeySet{}, err
	}
	named := set.named(kid)
	if len(named) == 0 && kid != "" && fetchedAt.Before(asked) {
		if set, err = c.keys.renew(ctx); err != nil {
			return jwt.VerificationKeySet{}, err
		}
		named = set.named(kid)
	}
	var keys jwt.VerificationKeySet
	for _, k := range named {
		if k.fits(alg) {
			keys.Keys = append(keys.Keys, k.public)
		}
	}
	switch {
	case len(keys.Keys) > 0:
		return keys, nil
	case kid == "" && len(named) == 0:
		return keys, &TokenError{"signature", "it does not say which of the provider's keys made it"}
	case len(named) == 0:
		return keys, &TokenError{"signature", "it is by a key that the provider does not publish for signing"}
	}
	return keys, &TokenError{"signature", "its algorithm does not fit the key that it names"}
}
