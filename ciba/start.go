package ciba

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	startTimeout = 20 * time.Second

	// defaultInterval is the time between polls where the provider names none
	// (CIBA Core 1.0 §7.3).
	defaultInterval = 5 * time.Second

	// maxInterval bounds the time between polls, so that a provider's slip
	// does not stop all polling of a request.
	maxInterval = 5 * time.Minute

	// maxAuthReqID bounds an auth_req_id; Keycloak's have about a kilobyte.
	maxAuthReqID = 4096
)

// startErrors are the error codes of the backchannel authentication endpoint
// (CIBA Core 1.0 §13, RFC 6749 §5.2); id_token_hint's are Open Finance
// Brazil's. Any other is [ErrProvider].
var startErrors = map[string]error{
	"access_denied": ErrDenied,

	"unknown_user_id":          ErrUnknownUser,
	"expired_login_hint_token": ErrUnknownUser,
	"expired_id_token_hint":    ErrUnknownUser,
	"invalid_id_token_hint":    ErrUnknownUser,

	"invalid_request":         ErrConfiguration,
	"invalid_client":          ErrConfiguration,
	"unauthorized_client":     ErrConfiguration,
	"unsupported_grant_type":  ErrConfiguration,
	"invalid_scope":           ErrConfiguration,
	"invalid_binding_message": ErrConfiguration,
	"missing_user_code":       ErrConfiguration,
	"invalid_user_code":       ErrConfiguration,

	"server_error":            ErrUnavailable,
	"temporarily_unavailable": ErrUnavailable,
}

// Start sends an authentication request (CIBA Core 1.0 §7.1): the provider asks
// the person. It is sent once and never again, since each one rings a phone:
// after an [ErrUnavailable] the person may have been asked, or not.
//
// The provider has 20 seconds to acknowledge. A request that CIBA does not
// allow, or an answer of the provider that says so, is [ErrConfiguration]; a
// person whom the provider does not know is [ErrUnknownUser].
func (c *Client) Start(ctx context.Context, r Request) (Started, error) {
	form, err := r.form(c.cfg.Scope)
	if err != nil {
		return Started{}, &Error{Kind: ErrConfiguration, Endpoint: endpointStart, Err: err}
	}
	u, err := c.endpoint(ctx, c.cfg.Endpoints.BackchannelAuthentication, func(m metadata) string { return m.backchannelAuthentication }, endpointStart)
	if err != nil {
		return Started{}, err
	}
	header, err := c.authenticate(ctx, endpointStart, form)
	if err != nil {
		return Started{}, err
	}
	for name, values := range r.Extra {
		if form.Has(name) || reserved[name] {
			return Started{}, &Error{Kind: ErrConfiguration, Endpoint: endpointStart, Err: errors.New("an extra parameter would replace one of the request's own")}
		}
		form[name] = values
	}
	started := Started{SentAt: c.cfg.Now()}
	a, err := c.do(ctx, call{
		endpoint: endpointStart,
		method:   http.MethodPost,
		url:      u,
		form:     form,
		header:   header,
		timeout:  startTimeout,
	})
	if err != nil {
		return Started{}, err
	}
	if err := started.read(a); err != nil {
		return Started{}, err
	}
	return started, nil
}

// reserved are the parameters that [Request.Extra] must not bring, even where
// the request does not have them: they would mean another user, another client
// or, in a signed request object, another request (CIBA Core 1.0 §7.1).
var reserved = map[string]bool{
	"scope": true, "client_notification_token": true, "acr_values": true,
	"login_hint_token": true, "id_token_hint": true, "login_hint": true,
	"binding_message": true, "user_code": true, "requested_expiry": true,
	"grant_type": true, "request": true, "request_uri": true,
	"client_id": true, "client_secret": true,
	"client_assertion": true, "client_assertion_type": true,
}

// form is the request as parameters, without Extra.
func (r Request) form(scope string) (url.Values, error) {
	if r.Scope != "" {
		scope = r.Scope
	}
	if err := checkScope(scope); err != nil {
		return nil, fmt.Errorf("checking scope: %w", err)
	}
	// The broker wants the grant type here too; others must ignore it, as any
	// parameter they do not know (CIBA Core 1.0 §7.2).
	form := url.Values{"grant_type": {grantType}, "scope": {scope}}
	hints := 0
	for _, p := range []struct {
		name, value string
		hint        bool
	}{
		{"login_hint_token", r.LoginHintToken, true},
		{"id_token_hint", r.IDTokenHint, true},
		{"login_hint", r.LoginHint, true},
		{"client_notification_token", r.ClientNotificationToken, false},
		{"acr_values", strings.Join(r.ACRValues, " "), false},
		{"binding_message", r.BindingMessage, false},
		{"user_code", r.UserCode, false},
	} {
		if p.value == "" {
			continue
		}
		if !utf8.ValidString(p.value) {
			return nil, errors.New("checking " + p.name + ": it is not UTF-8")
		}
		if p.hint {
			hints++
		}
		form.Set(p.name, p.value)
	}
	if hints != 1 {
		return nil, errors.New("checking hints: there must be exactly one of login_hint_token, id_token_hint and login_hint")
	}
	if r.ClientNotificationToken != "" && !isBearerToken(r.ClientNotificationToken) {
		return nil, errors.New("checking client_notification_token: it must be a bearer token of at most 1024 characters")
	}
	if r.RequestedExpiry != 0 {
		if r.RequestedExpiry < 0 || r.RequestedExpiry%time.Second != 0 {
			return nil, errors.New("checking requested_expiry: it must be a positive number of whole seconds")
		}
		form.Set("requested_expiry", strconv.FormatInt(int64(r.RequestedExpiry/time.Second), 10))
	}
	return form, nil
}

// authenticate lets the client's authentication add to the form, and returns
// the header that it wants.
func (c *Client) authenticate(ctx context.Context, endpoint string, form url.Values) (http.Header, error) {
	header := make(http.Header)
	err := c.cfg.Auth.Authenticate(ctx, c.cfg.Issuer, c.cfg.ClientID, form, header)
	switch {
	case err == nil:
		return header, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return nil, e
	}
	return nil, &Error{Kind: ErrConfiguration, Endpoint: endpoint, Err: fmt.Errorf("authenticating the client: %w", err)}
}

// read takes the acknowledgement out of an answer (CIBA Core 1.0 §7.3).
func (s *Started) read(a answer) error {
	members, err := a.object(startErrors)
	if err != nil {
		return err
	}
	id, _ := members["auth_req_id"].text()
	if !isAuthReqID(id) {
		return a.unavailable("acknowledgement has no proper auth_req_id")
	}
	s.AuthReqID = id
	if s.ExpiresIn = members["expires_in"].lifetime(); s.ExpiresIn == 0 {
		return a.unavailable("acknowledgement has no positive expires_in")
	}
	s.Interval = defaultInterval
	if f, ok := members["interval"].seconds(); ok && f > 0 {
		s.Interval = time.Duration(math.Ceil(min(f, maxInterval.Seconds()))) * time.Second
	}
	return nil
}

// isAuthReqID tells whether s has the form of an auth_req_id (CIBA Core 1.0
// §7.3). The dot segments have it, but mean something else in a URL's path.
func isAuthReqID(s string) bool {
	if s == "" || s == "." || s == ".." || len(s) > maxAuthReqID {
		return false
	}
	for i := range len(s) {
		if b := s[i]; !isAlphanumeric(b) && b != '.' && b != '-' && b != '_' {
			return false
		}
	}
	return true
}

// isBearerToken tells whether s has the b64token form of RFC 6750 §2.1, and the
// length that CIBA Core 1.0 §7.1 allows.
func isBearerToken(s string) bool {
	if len(s) > 1024 {
		return false
	}
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		if b := s[i]; !isAlphanumeric(b) && strings.IndexByte("-._~+/", b) < 0 {
			return false
		}
	}
	return s != ""
}

func isAlphanumeric(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}
