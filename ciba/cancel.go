package ciba

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const cancelTimeout = 10 * time.Second

// Cancel withdraws a request, so that the person is not asked any longer. It is
// the broker's own call and no part of CIBA: a DELETE, without client
// authentication. A request that the provider does not know (any more) counts
// as cancelled. With [Endpoints.CancelOff] nothing is sent and nil returned.
//
// The provider has ten seconds to answer. Cancelling again does no harm.
func (c *Client) Cancel(ctx context.Context, authReqID string) error {
	if c.cfg.Endpoints.CancelOff {
		return nil
	}
	// Also keeps ids out of the path that would lead out of it, such as "..".
	if !isAuthReqID(authReqID) {
		return &Error{Kind: ErrConfiguration, Endpoint: endpointCancel, Err: errors.New("the auth_req_id is malformed")}
	}
	a, err := c.do(ctx, call{
		endpoint: endpointCancel,
		method:   http.MethodDelete,
		url:      strings.TrimSuffix(c.cfg.Endpoints.Cancel, "/") + "/" + url.PathEscape(authReqID),
		timeout:  cancelTimeout,
	})
	switch {
	case err != nil:
		return err
	case a.status >= 200 && a.status <= 299, a.status == http.StatusNotFound:
		return nil
	case a.status >= 500, a.status == http.StatusTooManyRequests, a.status == http.StatusRequestTimeout:
		return a.unavailable("")
	}
	return a.fail(ErrConfiguration, "")
}
