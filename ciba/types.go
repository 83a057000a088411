package ciba

import (
	"log/slog"
	"net/url"
	"time"
)

// Request is an authentication request (CIBA Core 1.0 §7.1). Exactly one of
// LoginHintToken, IDTokenHint and LoginHint must be set.
type Request struct {
	// Scope replaces the client's scope when it is not empty. It must contain
	// openid.
	Scope string

	// ClientNotificationToken is the bearer token for ping and push delivery.
	// Clients that only poll leave it empty.
	ClientNotificationToken string

	// ACRValues are the authentication context classes asked for, the
	// preferred one first.
	ACRValues []string

	// LoginHintToken says who is asked, in a form that the provider defines.
	// [MitIDHint] makes the one that Signaturgruppen's broker takes.
	LoginHintToken string

	// IDTokenHint is an earlier ID token of the user.
	IDTokenHint string

	// LoginHint is a name for the user: a mail address, an account number.
	LoginHint string

	// BindingMessage is shown on both devices.
	BindingMessage string

	// UserCode is a secret that only the user knows, for providers that want
	// one. It must never be stored.
	UserCode string

	// RequestedExpiry asks for a lifetime of the request, in whole seconds;
	// 0 leaves it to the provider.
	RequestedExpiry time.Duration

	// Extra are further parameters. A parameter that this type or the client
	// authentication sets is refused here.
	Extra url.Values
}

// Started is the provider's acknowledgement (CIBA Core 1.0 §7.3).
type Started struct {
	// AuthReqID names the request at the provider. Whoever has it and the
	// client's credentials can collect the tokens, so it is kept like a secret.
	AuthReqID string

	// ExpiresIn is the request's lifetime, counted from SentAt.
	ExpiresIn time.Duration

	// Interval is the least time between two polls; five seconds where the
	// provider names none.
	Interval time.Duration

	// SentAt is when the request was sent, by the client's clock.
	SentAt time.Time
}

// Tokens is a successful token response. Only IDToken is always there.
type Tokens struct {
	IDToken     string
	AccessToken string
	TokenType   string
	Scope       string

	// ExpiresIn is the access token's lifetime, 0 where the provider names none.
	ExpiresIn time.Duration

	// TransactionToken is the broker's long-lived proof of the transaction,
	// empty unless its scope was asked for.
	TransactionToken string

	// Nonce is the ciba_nonce that the broker returns beside the tokens, empty
	// where it returns none.
	Nonce string
}

// String hides the tokens.
func (Tokens) String() string { return "ciba.Tokens{…}" }

// GoString hides the tokens.
func (t Tokens) GoString() string { return t.String() }

// LogValue hides the tokens.
func (t Tokens) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalJSON hides the tokens: they are never meant to be written down.
func (t Tokens) MarshalJSON() ([]byte, error) { return []byte(`"` + t.String() + `"`), nil }

// Expect is what an ID token is compared with. Fields that are empty are not
// compared, except where their comment says otherwise.
type Expect struct {
	// AuthReqID is compared with the claim
	// urn:openid:params:jwt:claim:auth_req_id when the token has it.
	AuthReqID string

	// StartedAt is when the authentication request was sent. The token's iat
	// and auth_time must not lie before it, but for the client's clock skew.
	StartedAt time.Time

	// UUID is the MitID UUID that was asked for. It must not be empty, and the
	// token's mitid.uuid must be there and equal to it; UUIDs are compared without regard to case.
	UUID string

	// ReferenceText is the text that was sent. mitid.reference_text must be
	// there and equal to it, byte for byte. It must not be empty.
	ReferenceText string

	// Nonce is the ciba_nonce that was sent, compared with [Tokens.Nonce] and
	// with the token's ciba_nonce and nonce claims where they are there.
	Nonce string

	// LoA is the level of assurance that the token must show at least.
	LoA LoA
}

// Identity is what a verified ID token says, as far as a gate may know it:
// no name, no birth date.
type Identity struct {
	// UUID is the MitID UUID.
	UUID string

	// TransactionID is MitID's id of the transaction, empty where the token
	// has none.
	TransactionID string

	// Subject is the provider's pseudonym for the person.
	Subject string

	// LoA is the level of assurance that the token shows, LoANone where it
	// shows none.
	LoA LoA

	// AuthTime is when the person approved; IssuedAt where the token does not
	// say it.
	AuthTime time.Time

	// IssuedAt and ExpiresAt bound the token's validity.
	IssuedAt, ExpiresAt time.Time
}

// LoA is a level of assurance of the Danish NSIS, in ascending order.
type LoA int

// The levels of NSIS. LoANone is no level at all.
const (
	LoANone LoA = iota
	LoALow
	LoASubstantial
	LoAHigh
)
