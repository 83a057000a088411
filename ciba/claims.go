package ciba

import (
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// authReqIDClaim names the request in an ID token (CIBA Core 1.0 §10.3.1).
const authReqIDClaim = "urn:openid:params:jwt:claim:auth_req_id"

// The claims that are read, by type; all others are ignored, personal data
// among them.
var (
	textClaims = []string{
		"iss", "sub", "azp", "at_hash", authReqIDClaim, "nonce", "ciba_nonce",
		"idp", "idtoken_type", "idp_transaction_id",
		"mitid.uuid", "mitid.reference_text", "mitid.transaction_id",
		"loa", "acr", "mitid.loa",
	}
	timeClaims = []string{"exp", "nbf", "iat", "auth_time"}
)

// claims are those of an ID token. It implements [jwt.Claims].
type claims struct {
	text     map[string]string
	time     map[string]time.Time
	audience []string
}

// UnmarshalJSON reads the claims. A claim of the wrong type is no absent claim,
// but a [*TokenError].
func (c *claims) UnmarshalJSON(data []byte) error {
	members, err := parseObject(data)
	if err != nil {
		return &TokenError{"format", "its claims are not a JSON object of unique members"}
	}
	c.text = make(map[string]string, len(textClaims))
	c.time = make(map[string]time.Time, len(timeClaims))
	for _, name := range textClaims {
		raw, ok := members[name]
		if !ok {
			continue
		}
		if c.text[name], ok = raw.text(); !ok {
			return &TokenError{check(name), "it is not a string"}
		}
	}
	for _, name := range timeClaims {
		raw, ok := members[name]
		if !ok {
			continue
		}
		if c.time[name], ok = raw.date(); !ok {
			return &TokenError{name, "it is not a time in whole seconds"}
		}
	}
	if raw, ok := members["aud"]; ok {
		if one, ok := raw.text(); ok {
			c.audience = []string{one}
		} else if c.audience, ok = raw.texts(); !ok {
			return &TokenError{"aud", "it is neither a string nor an array of strings"}
		}
	}
	return nil
}

// check is the name under which a claim is checked.
func check(claim string) string {
	switch claim {
	case authReqIDClaim:
		return "auth_req_id"
	case "ciba_nonce":
		return "nonce"
	case "acr", "mitid.loa":
		return "loa"
	}
	return claim
}

// has tells whether the token has a claim, of text or time.
func (c *claims) has(name string) bool {
	_, isText := c.text[name]
	_, isTime := c.time[name]
	return isText || isTime
}

// loa is the lowest of the levels that the token shows, LoANone where it shows
// none or one that is no level.
func (c *claims) loa() LoA {
	lowest, found := LoAHigh, false
	for _, name := range []string{"loa", "acr", "mitid.loa"} {
		if !c.has(name) {
			continue
		}
		level, _ := ParseLoA(c.text[name])
		lowest, found = min(lowest, level), true
	}
	if !found {
		return LoANone
	}
	return lowest
}

// identity is what the claims say of the person.
func (c *claims) identity() Identity {
	id := Identity{
		UUID:          c.text["mitid.uuid"],
		TransactionID: c.text["mitid.transaction_id"],
		Subject:       c.text["sub"],
		LoA:           c.loa(),
		AuthTime:      c.time["auth_time"],
		IssuedAt:      c.time["iat"],
		ExpiresAt:     c.time["exp"],
	}
	if id.TransactionID == "" {
		id.TransactionID = c.text["idp_transaction_id"]
	}
	if !c.has("auth_time") {
		id.AuthTime = id.IssuedAt
	}
	return id
}

// date is a claim for golang-jwt, nil where there is none.
func (c *claims) date(name string) (*jwt.NumericDate, error) {
	if t, ok := c.time[name]; ok {
		return jwt.NewNumericDate(t), nil
	}
	return nil, nil
}

// GetExpirationTime implements [jwt.Claims].
func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.date("exp") }

// GetIssuedAt implements [jwt.Claims].
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error) { return c.date("iat") }

// GetNotBefore implements [jwt.Claims].
func (c *claims) GetNotBefore() (*jwt.NumericDate, error) { return c.date("nbf") }

// GetIssuer implements [jwt.Claims].
func (c *claims) GetIssuer() (string, error) { return c.text["iss"], nil }

// GetSubject implements [jwt.Claims].
func (c *claims) GetSubject() (string, error) { return c.text["sub"], nil }

// GetAudience implements [jwt.Claims].
func (c *claims) GetAudience() (jwt.ClaimStrings, error) { return c.audience, nil }
