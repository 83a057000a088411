package ciba

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// What an answer of the provider means to a caller. Every error that a
// [Client] method returns matches exactly one of these with [errors.Is],
// except a cancelled or expired context of the caller's own, which is
// returned as it is, and a [*TokenError], which is [ErrToken].
var (
	// ErrPending says that the person has not decided yet: poll again after
	// the interval (CIBA Core 1.0 §11, authorization_pending).
	ErrPending = errors.New("authorization pending")

	// ErrSlowDown says that the person has not decided yet and that polls come
	// too fast: add five seconds to the interval for this and all later polls
	// (CIBA Core 1.0 §11, slow_down).
	ErrSlowDown = errors.New("polling too fast")

	// ErrDenied says that the person, or the provider's policy before asking
	// the person, said no (CIBA Core 1.0 §11 and §13, access_denied).
	ErrDenied = errors.New("access denied")

	// ErrExpired says that the request was not answered in time (CIBA Core 1.0
	// §11, expired_token).
	ErrExpired = errors.New("authentication request expired")

	// ErrSpent says that the auth_req_id is unknown, of another client or
	// already redeemed: its final answer was given, and perhaps lost
	// (CIBA Core 1.0 §11, invalid_grant).
	ErrSpent = errors.New("authentication request spent or unknown")

	// ErrUnknownUser says that the provider cannot tell whom the hint means
	// (CIBA Core 1.0 §13, unknown_user_id and its relatives).
	ErrUnknownUser = errors.New("user not known to the provider")

	// ErrConfiguration says that the provider rejects this client or the form
	// of its requests (invalid_client, invalid_request, unauthorized_client,
	// …), or that its metadata do not fit the client, or that a call's
	// arguments are such that no request was sent: an operator or programmer
	// has to act, trying again does not help.
	ErrConfiguration = errors.New("client or request not accepted by the provider")

	// ErrProvider says that the provider ended the request with an error of
	// its own (such as mitid_flex_app.mitid_error_*). It is final.
	ErrProvider = errors.New("request ended by the provider")

	// ErrUnavailable says that no OAuth answer was had: the connection failed,
	// timed out, or brought a server error or something that is not the JSON
	// it should be. A poll may be tried again, later; a start must not be.
	ErrUnavailable = errors.New("provider unavailable")

	// ErrToken says that an ID token failed a check. See [TokenError].
	ErrToken = errors.New("id token not accepted")
)

// Error is what the provider, or the way to it, said instead of an answer.
type Error struct {
	// Kind is one of this package's sentinels, never nil.
	Kind error

	// Endpoint names the endpoint in words: "discovery", "backchannel
	// authentication", "token", "jwks" or "cancel".
	Endpoint string

	// Status is the HTTP status, 0 where there was none.
	Status int

	// Code is the error member of the JSON answer, empty where there was none.
	Code string

	// Description is the provider's error_description, made printable and cut
	// to 200 characters. It is for logs: it is not for users, nor for decisions
	// (CIBA Core 1.0 §13), and it is no part of Error's text.
	Description string

	// RetryAfter is the pause that the provider asked for with Retry-After,
	// 0 where it asked for none.
	RetryAfter time.Duration

	// Err is the transport's or decoder's error, nil where there was none. It
	// holds no part of the request or the answer.
	Err error
}

// Error tells the endpoint, what it means, and the code or status.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s endpoint: %v", e.Endpoint, e.Kind)
	if e.Status != 0 {
		fmt.Fprintf(&b, ": status %d", e.Status)
	}
	if e.Code != "" {
		fmt.Fprintf(&b, ": error %q", e.Code)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap gives the kind and the cause, for errors.Is.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// TokenError says which check an ID token failed. It matches [ErrToken], and
// never quotes a claim's value.
type TokenError struct {
	// Check is the claim or property that failed, for example "signature",
	// "aud", "exp" or "mitid.uuid".
	Check string

	// Reason says in a few words what was wrong, without values.
	Reason string
}

// Error tells the check and the reason.
func (e *TokenError) Error() string {
	return fmt.Sprintf("id token not accepted: %s: %s", e.Check, e.Reason)
}

// Is makes every TokenError match [ErrToken].
func (e *TokenError) Is(target error) bool { return target == ErrToken }
