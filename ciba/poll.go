package ciba

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// pollTimeout leaves room for a provider that holds polls open, for 30 seconds
// as CIBA Core 1.0 §10.1 recommends.
const pollTimeout = 35 * time.Second

// tokenErrors are the error codes of the token endpoint (CIBA Core 1.0 §11,
// RFC 6749 §5.2). Any other is [ErrProvider].
var tokenErrors = map[string]error{
	"authorization_pending": ErrPending,
	"slow_down":             ErrSlowDown,
	"access_denied":         ErrDenied,
	"expired_token":         ErrExpired,
	"invalid_grant":         ErrSpent,

	// To a client that polls too fast after all, too: it must stop.
	"invalid_request":        ErrConfiguration,
	"invalid_client":         ErrConfiguration,
	"unauthorized_client":    ErrConfiguration,
	"unsupported_grant_type": ErrConfiguration,
	"invalid_scope":          ErrConfiguration,

	"server_error":            ErrUnavailable,
	"temporarily_unavailable": ErrUnavailable,
}

// Poll asks once whether the person has answered (CIBA Core 1.0 §10.1). It
// makes exactly one token request, which the provider may hold open: it waits
// up to 35 seconds.
//
// [ErrPending], [ErrSlowDown] and [ErrUnavailable] say to ask again, after the
// interval and no sooner than [Error.RetryAfter]; every other error is final. An
// answer that was lost on its way is not given again: the next poll gets
// [ErrSpent]. A successful answer without an ID token is a [*TokenError]. The
// tokens are not to be trusted before [Client.Verify].
func (c *Client) Poll(ctx context.Context, authReqID string) (Tokens, error) {
	if !isAuthReqID(authReqID) {
		return Tokens{}, &Error{Kind: ErrConfiguration, Endpoint: endpointToken, Err: errors.New("the auth_req_id is malformed")}
	}
	u, err := c.endpoint(ctx, c.cfg.Endpoints.Token, func(m metadata) string { return m.token }, endpointToken)
	if err != nil {
		return Tokens{}, err
	}
	// The broker wants a scope here too, and openid is what its documents send.
	form := url.Values{"grant_type": {grantType}, "scope": {"openid"}, "auth_req_id": {authReqID}}
	header, err := c.authenticate(ctx, endpointToken, form)
	if err != nil {
		return Tokens{}, err
	}
	a, err := c.do(ctx, call{
		endpoint: endpointToken,
		method:   http.MethodPost,
		url:      u,
		form:     form,
		header:   header,
		timeout:  pollTimeout,
	})
	if err != nil {
		return Tokens{}, err
	}
	return parseTokens(a)
}

// parseTokens reads the answer of the token endpoint.
func parseTokens(a answer) (Tokens, error) {
	members, err := a.object(tokenErrors)
	if err != nil {
		return Tokens{}, err
	}
	var t Tokens
	for _, m := range []struct {
		name string
		to   *string
	}{
		{"id_token", &t.IDToken},
		{"access_token", &t.AccessToken},
		{"transaction_token", &t.TransactionToken},
		{"ciba_nonce", &t.Nonce},
	} {
		raw, ok := members[m.name]
		if !ok {
			continue
		}
		// Final all the same: these tokens do not come a second time.
		if *m.to, ok = raw.text(); !ok {
			return Tokens{}, &TokenError{m.name, "it is not a string"}
		}
	}
	if t.IDToken == "" {
		return Tokens{}, &TokenError{"id_token", "the token response has none"}
	}
	t.TokenType, _ = members["token_type"].text()
	t.Scope, _ = members["scope"].text()
	t.ExpiresIn = members["expires_in"].lifetime()
	return t, nil
}
