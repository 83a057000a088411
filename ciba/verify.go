package ciba

import (
	"context"
	"crypto"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// maxIDToken bounds an ID token before any of it is parsed; the broker's have
// two kilobytes.
const maxIDToken = 64 << 10

// Verify checks an ID token (OpenID Connect Core 1.0 §3.1.3.7, CIBA Core 1.0
// §10.1) and that it is the answer to what was asked. It says who approved.
//
// A check that fails is a [*TokenError] and final. Where discovery or the keys
// cannot be had it is [ErrUnavailable]: the same tokens may be verified again,
// as long as they are valid.
//
// The checks, by the names in [TokenError.Check]:
//
//	format           three parts of strict base64url, of JSON objects, 64 KiB at most
//	typ              JWT where the header has it
//	crit             absent
//	signature        by the key that kid names, with an accepted algorithm
//	iss, aud, azp    this provider, for this client
//	exp, nbf, iat    now, and not older than Config.MaxTokenAge or the request
//	auth_time        not before the request and not in the future, where it is there
//	sub              present
//	at_hash          that of the access token, where it is there
//	auth_req_id      the request's, where it is there
//	idp              mitid
//	idtoken_type     ciba
//	mitid.uuid       the person who was asked
//	mitid.reference_text  the text that was sent
//	nonce            the nonce that was sent, where one came back
//	loa              at least the level that was asked for
func (c *Client) Verify(ctx context.Context, t Tokens, want Expect) (Identity, error) {
	switch {
	case !isUUID(want.UUID):
		return Identity{}, &TokenError{"mitid.uuid", "there is no UUID to compare it with"}
	case want.ReferenceText == "":
		return Identity{}, &TokenError{"mitid.reference_text", "there is no text to compare it with"}
	}
	algorithms, err := c.algorithms(ctx)
	if err != nil {
		return Identity{}, err
	}
	kid, alg, err := parseHeader(t.IDToken)
	if err != nil {
		return Identity{}, err
	}
	keys, err := c.verificationKeys(ctx, kid, alg)
	if err != nil {
		return Identity{}, err
	}

	now := c.cfg.Now()
	var tok claims
	_, err = jwt.NewParser(
		jwt.WithValidMethods(algorithms),
		jwt.WithIssuer(c.cfg.Issuer),
		jwt.WithAudience(c.cfg.ClientID),
		jwt.WithExpirationRequired(),
		jwt.WithLeeway(c.cfg.ClockSkew),
		jwt.WithStrictDecoding(),
		jwt.WithTimeFunc(func() time.Time { return now }),
	).ParseWithClaims(t.IDToken, &tok, func(*jwt.Token) (any, error) { return keys, nil })
	if err != nil {
		return Identity{}, tok.refusal(err)
	}
	for _, err := range []error{
		tok.checkAudience(c.cfg.ClientID, c.cfg.TrustedAudiences),
		tok.checkTime(now, want.StartedAt, c.cfg.ClockSkew, c.cfg.MaxTokenAge),
		tok.checkAccessToken(t.AccessToken, alg),
		tok.checkAnswer(t, want),
		tok.checkLoA(want.LoA),
	} {
		if err != nil {
			return Identity{}, err
		}
	}
	return tok.identity(), nil
}

// parseHeader checks an ID token's form and header, without trusting either, and
// returns what the key is to be looked up by. Members that bring or name a key
// themselves (jwk, jku, x5c, x5u) are not looked at.
func parseHeader(token string) (kid, alg string, err error) {
	if len(token) > maxIDToken {
		return "", "", &TokenError{"format", "it is larger than 64 KiB"}
	}
	// Go's decoder skips line breaks, and so would let two texts be the same
	// token.
	for i := range len(token) {
		if b := token[i]; !isAlphanumeric(b) && b != '-' && b != '_' && b != '.' {
			return "", "", &TokenError{"format", "it is not base64url"}
		}
	}
	if strings.Count(token, ".") != 2 {
		return "", "", &TokenError{"format", "it does not have three parts"}
	}
	encoded, _, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return "", "", &TokenError{"format", "its header is not base64url"}
	}
	header, err := parseObject(raw)
	if err != nil {
		return "", "", &TokenError{"format", "its header is not a JSON object of unique members"}
	}
	if _, ok := header["crit"]; ok {
		return "", "", &TokenError{"crit", "it has extensions that must be understood"}
	}
	// An access token of the same provider has the same signature, issuer and
	// subject; its type tells them apart (RFC 9068 §2.1).
	if v, ok := header["typ"]; ok {
		if typ, _ := v.text(); !strings.EqualFold(typ, "JWT") {
			return "", "", &TokenError{"typ", "it is not that of an ID token"}
		}
	}
	if v, ok := header["kid"]; ok {
		if kid, ok = v.text(); !ok {
			return "", "", &TokenError{"signature", "its kid is not a string"}
		}
	}
	alg, _ = header["alg"].text()
	return kid, alg, nil
}

// refusal names the check that made golang-jwt refuse the token. Several may
// have failed: the signature, then, is the one to tell.
func (c *claims) refusal(err error) error {
	if e, ok := errors.AsType[*TokenError](err); ok {
		return e
	}
	switch {
	case errors.Is(err, jwt.ErrTokenMalformed):
		return &TokenError{"format", "it is malformed"}
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return &TokenError{"signature", "it does not verify"}
	case errors.Is(err, jwt.ErrTokenInvalidIssuer), !c.has("iss"):
		return &TokenError{"iss", "it is not the provider's"}
	case errors.Is(err, jwt.ErrTokenInvalidAudience), len(c.audience) == 0:
		return &TokenError{"aud", "it does not name this client"}
	case errors.Is(err, jwt.ErrTokenExpired), !c.has("exp"):
		return &TokenError{"exp", "the token has expired, or never would"}
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return &TokenError{"nbf", "the token is not valid yet: are the clocks right?"}
	}
	return &TokenError{"format", "it does not verify"}
}

// checkAudience checks audiences beyond the client, and who the token was
// issued to.
func (c *claims) checkAudience(clientID string, trusted []string) error {
	for _, aud := range c.audience {
		if aud != clientID && !slices.Contains(trusted, aud) {
			return &TokenError{"aud", "it names an audience that is not trusted"}
		}
	}
	switch azp := c.text["azp"]; {
	case c.has("azp") && azp != clientID:
		return &TokenError{"azp", "it is not this client"}
	case !c.has("azp") && len(c.audience) > 1:
		return &TokenError{"azp", "it is missing though there are several audiences"}
	}
	return nil
}

// checkTime checks what golang-jwt does not: that exp holds without the leeway
// that nbf has, and that the token is a fresh answer to this request.
func (c *claims) checkTime(now, startedAt time.Time, skew, maxAge time.Duration) error {
	if !now.Before(c.time["exp"]) {
		return &TokenError{"exp", "the token has expired"}
	}
	if !c.has("iat") {
		return &TokenError{"iat", "it is missing"}
	}
	if now.Sub(c.time["iat"]) > maxAge {
		return &TokenError{"iat", "it is too long ago"}
	}
	for _, name := range []string{"iat", "auth_time"} {
		if !c.has(name) {
			continue
		}
		// Claims count whole seconds.
		if !startedAt.IsZero() && c.time[name].Before(startedAt.Add(-skew).Truncate(time.Second)) {
			return &TokenError{name, "it lies before the request: are the clocks right?"}
		}
		if c.time[name].After(now.Add(skew)) {
			return &TokenError{name, "it is in the future: are the clocks right?"}
		}
	}
	return nil
}

// checkAccessToken compares at_hash with the access token that came along
// (OpenID Connect Core 1.0 §3.1.3.6).
func (c *claims) checkAccessToken(accessToken, alg string) error {
	if !c.has("at_hash") {
		return nil
	}
	var hash crypto.Hash
	switch alg[2:] {
	case "256":
		hash = crypto.SHA256
	case "384":
		hash = crypto.SHA384
	default: // the 512s, and EdDSA, which hashes with SHA-512 in Ed25519
		hash = crypto.SHA512
	}
	h := hash.New()
	h.Write([]byte(accessToken))
	sum := h.Sum(nil)
	left := base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
	if accessToken == "" || subtle.ConstantTimeCompare([]byte(left), []byte(c.text["at_hash"])) != 1 {
		return &TokenError{"at_hash", "it is not that of the access token"}
	}
	return nil
}

// checkAnswer checks that the token answers what was asked: this person, this
// text, this request.
func (c *claims) checkAnswer(t Tokens, want Expect) error {
	uuid := c.text["mitid.uuid"]
	switch {
	case c.text["sub"] == "":
		return &TokenError{"sub", "it is missing"}
	case c.has(authReqIDClaim) && want.AuthReqID != "" && c.text[authReqIDClaim] != want.AuthReqID:
		return &TokenError{"auth_req_id", "it is not that of the request"}
	case c.text["idp"] != "mitid":
		return &TokenError{"idp", "it is not mitid"}
	case c.text["idtoken_type"] != "ciba":
		return &TokenError{"idtoken_type", "it is not ciba"}
	case !isUUID(uuid) || !strings.EqualFold(uuid, want.UUID):
		return &TokenError{"mitid.uuid", "it is not the person who was asked"}
	case c.text["mitid.reference_text"] != want.ReferenceText:
		return &TokenError{"mitid.reference_text", "it is not the text that was sent"}
	}
	if want.Nonce == "" {
		return nil
	}
	if t.Nonce != "" && t.Nonce != want.Nonce {
		return &TokenError{"nonce", "the token response's is not the one that was sent"}
	}
	for _, name := range []string{"ciba_nonce", "nonce"} {
		if c.has(name) && c.text[name] != want.Nonce {
			return &TokenError{"nonce", "it is not the one that was sent"}
		}
	}
	return nil
}

// checkLoA checks the level of assurance where one is asked for.
func (c *claims) checkLoA(want LoA) error {
	if c.loa() < want {
		return &TokenError{"loa", "the token does not show the level that is asked for"}
	}
	return nil
}
