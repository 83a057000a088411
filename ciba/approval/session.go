package approval

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
)

const (
	sessionSecretSize = 32
	sessionMACSize    = 16
)

// sessionTokenLength is the length of a token in characters.
var sessionTokenLength = base64.RawURLEncoding.EncodedLen(sessionSecretSize + sessionMACSize)

// strictBase64 reads each value in one spelling only.
var strictBase64 = base64.RawURLEncoding.Strict()

// Session is the secret by which a client holds on to its approvals. Only an
// [Engine] makes one, and only what an engine has made is taken back, so that
// nobody can plant a session of their choosing.
type Session struct {
	secret [sessionSecretSize]byte
	valid  bool
}

// Valid tells whether the session was made by an engine; the zero Session was
// not.
func (s Session) Valid() bool { return s.valid }

// String hides the secret.
func (Session) String() string { return "approval.Session{…}" }

// GoString hides the secret.
func (s Session) GoString() string { return s.String() }

// LogValue hides the secret.
func (s Session) LogValue() slog.Value { return slog.StringValue(s.String()) }

// NewSession makes a session with a new 256-bit secret.
func (e *Engine) NewSession() Session {
	s := Session{valid: true}
	rand.Read(s.secret[:]) // never fails: crypto/rand ends the program instead
	return s
}

// SessionToken is what the client keeps: 64 characters of base64url.
func (e *Engine) SessionToken(s Session) string {
	sum := e.keys.token.sum(string(s.secret[:]))
	return base64.RawURLEncoding.EncodeToString(append(s.secret[:], sum[:sessionMACSize]...))
}

// ParseSession takes back what [Engine.SessionToken] gave out, by this engine
// or another with the same secret. It reports false for anything else.
func (e *Engine) ParseSession(token string) (Session, bool) {
	if len(token) != sessionTokenLength {
		return Session{}, false
	}
	// Every request brings one: room for it that needs no cleaning up.
	var raw [sessionSecretSize + sessionMACSize]byte
	var text [len(raw) * 4 / 3]byte
	copy(text[:], token)
	if _, err := strictBase64.Decode(raw[:], text[:]); err != nil {
		return Session{}, false
	}
	s := Session{secret: [sessionSecretSize]byte(raw[:sessionSecretSize]), valid: true}
	sum := e.keys.token.sum(string(s.secret[:]))
	if !hmac.Equal(sum[:sessionMACSize], raw[sessionSecretSize:]) {
		return Session{}, false
	}
	return s, true
}
