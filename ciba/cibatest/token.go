package cibatest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Lifetimes of the tokens, as the broker's.
const (
	idTokenLifetime     = 300 * time.Second
	accessTokenLifetime = 3600 * time.Second
)

// slowDownStep is what slow_down adds to the interval (CIBA Core 1.0 §11).
const slowDownStep = 5 * time.Second

// handleToken is the token endpoint for polls (CIBA Core 1.0 §10.1).
func (s *Server) handleToken(x *exchange) answer {
	if code := s.checkForm(x); code != "" {
		return refusal(code)
	}
	switch x.form.Get("grant_type") {
	case grantType:
	case "":
		return refusal("invalid_request")
	default:
		return refusal("unsupported_grant_type")
	}
	if x.id == "" {
		return refusal("invalid_request")
	}

	m, code := s.redeem(x)
	if code != "" {
		return refusal(code)
	}
	return jsonAnswer(http.StatusOK, s.mint(m))
}

// redeem is one poll's look at its request. It returns what to make tokens
// from, or the error's code. Making them is left to the caller, for signing is
// slow and the TokenClaims hook may ask the server something.
func (s *Server) redeem(x *exchange) (m minting, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	q := s.byID[x.id]
	if q == nil || q.spent {
		return minting{}, "invalid_grant"
	}
	q.expire(now)
	x.polled = q
	// Too early is too early, even when the answer is there: a client that
	// polls too fast must not be rewarded for it.
	if !q.answered.IsZero() && now.Sub(q.answered) < q.interval {
		q.interval += slowDownStep
		return minting{}, "slow_down"
	}
	switch q.State {
	case StateWaiting:
		return minting{}, "authorization_pending"
	case StateApproved:
		q.State, q.spent = StateCollected, true
	default:
		q.spent = true
		return minting{}, q.code
	}
	fault := s.takeFault(func(f Fault) bool {
		return f.Token != TokenAsIs && (f.AuthReqID == "" || f.AuthReqID == q.ID)
	})
	return minting{keys: s.keys, q: *q, now: now, fault: fault}, ""
}

// minting is what the tokens of one request are made from.
type minting struct {
	keys  keySet
	q     request
	now   time.Time
	fault Fault
}

// tokenResponse is the answer to a successful poll, as the broker's.
type tokenResponse struct {
	IDToken          string `json:"id_token"`
	AccessToken      string `json:"access_token"`
	ExpiresIn        int64  `json:"expires_in"`
	TokenType        string `json:"token_type"`
	Scope            string `json:"scope"`
	TransactionToken string `json:"transaction_token,omitempty"`
	Nonce            string `json:"ciba_nonce,omitempty"`
}

// mint makes the tokens, with the claims and JSON types of the broker's own.
func (s *Server) mint(m minting) tokenResponse {
	issued, approved := m.now.Unix(), m.q.decided.Unix()
	// The broker's pseudonym for a person is the same for one client's every
	// request.
	subject := derivedUUID("sub", s.cfg.ClientID, strings.ToLower(m.q.UUID))
	// The broker grants mitid even where only openid was asked for.
	scopes := []string{"openid", "mitid"}
	if hasScope(m.q.scope, "transaction_token") {
		scopes = append(scopes, "transaction_token")
	}
	jti := make([]byte, 16)
	rand.Read(jti)

	access := signRS256("at+jwt", m.keys.token.kid, m.keys.token, map[string]any{
		"iss":                s.cfg.Issuer,
		"nbf":                issued,
		"iat":                issued,
		"exp":                issued + int64(accessTokenLifetime/time.Second),
		"scope":              scopes,
		"client_id":          s.cfg.ClientID,
		"sub":                subject,
		"auth_time":          approved,
		"idp":                "mitid",
		"idp_transaction_id": m.q.transactionID,
		"jti":                strings.ToUpper(hex.EncodeToString(jti)),
	})
	claims := map[string]any{
		"iss":                  s.cfg.Issuer,
		"nbf":                  issued,
		"iat":                  issued,
		"exp":                  issued + int64(idTokenLifetime/time.Second),
		"aud":                  s.cfg.ClientID,
		"at_hash":              atHash(access),
		"sub":                  subject,
		"auth_time":            approved,
		"idp":                  "mitid",
		"mitid.uuid":           m.q.UUID,
		"mitid.age":            strconv.Itoa(m.now.Year() - 1940),
		"mitid.date_of_birth":  "1940-01-01",
		"mitid.has_cpr":        "true",
		"mitid.identity_name":  "Simulated Person",
		"mitid.psd2":           "false",
		"mitid.reference_text": m.q.Text,
		"mitid.transaction_id": m.q.transactionID,
		"idp_transaction_id":   m.q.transactionID,
		"idtoken_type":         "ciba",
	}
	if s.cfg.TokenClaims != nil {
		s.cfg.TokenClaims(claims, m.q.Request)
	}
	resp := tokenResponse{
		AccessToken: access,
		ExpiresIn:   int64(accessTokenLifetime / time.Second),
		TokenType:   "Bearer",
		Scope:       strings.Join(scopes, " "),
		Nonce:       m.q.Nonce,
	}
	if hasScope(m.q.scope, "transaction_token") {
		// The broker documents the key and the purpose of this token, a proof
		// that is kept for years, but not its claims.
		proof := maps.Clone(claims)
		for _, name := range []string{"exp", "at_hash", "idtoken_type"} {
			delete(proof, name)
		}
		resp.TransactionToken = signRS256("JWT", m.keys.transaction.kid, m.keys.transaction, proof)
	}
	resp.IDToken = s.signIDToken(m, claims, &resp)
	return resp
}

// atHash is the left half of the hash of an access token (OpenID Connect Core
// 1.0 §3.1.3.6), for RS256.
func atHash(access string) string {
	sum := sha256.Sum256([]byte(access))
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

func signRS256(typ, kid string, k *key, claims map[string]any) string {
	return sign(jwt.SigningMethodRS256, typ, kid, k.private, claims)
}

func sign(method jwt.SigningMethod, typ, kid string, secret any, claims map[string]any) string {
	token := jwt.NewWithClaims(method, jwt.MapClaims(claims))
	token.Header["typ"] = typ
	token.Header["kid"] = kid
	signed, err := token.SignedString(secret)
	if err != nil {
		panic("cibatest: signing a token: " + err.Error())
	}
	return signed
}
