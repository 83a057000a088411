package ciba

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// maxBody bounds every answer; those of a provider have some kilobytes.
const maxBody = 1 << 20

// Names of the endpoints in [Error].
const (
	endpointDiscovery = "discovery"
	endpointStart     = "backchannel authentication"
	endpointToken     = "token"
	endpointJWKS      = "jwks"
	endpointCancel    = "cancel"
)

// call is one HTTP request.
type call struct {
	endpoint string // as in Error
	method   string
	url      string
	form     url.Values // the body, none where nil
	header   http.Header
	timeout  time.Duration
}

// answer is a response that was read to its end.
type answer struct {
	endpoint   string
	status     int
	header     http.Header
	body       []byte
	retryAfter time.Duration
}

// do makes one request and reads the whole answer, whatever its status. It
// fails with the error of ctx where that has ended, and with ErrUnavailable
// otherwise.
func (c *Client) do(ctx context.Context, k call) (answer, error) {
	timed, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()

	var body io.Reader
	if k.form != nil {
		body = strings.NewReader(k.form.Encode())
	}
	req, err := http.NewRequestWithContext(timed, k.method, k.url, body)
	if err != nil {
		return answer{}, &Error{Kind: ErrConfiguration, Endpoint: k.endpoint, Err: errors.New("its URL cannot be called")}
	}
	// Without GetBody net/http has no way to send a POST a second time, on
	// another connection: each start rings a phone, and each final answer is
	// given once.
	req.GetBody = nil
	maps.Copy(req.Header, k.header)
	req.Header.Set("Accept", "application/json")
	if k.form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}

	unavailable := func(status int, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case timed.Err() != nil:
			// Not wrapped: context.DeadlineExceeded is for the caller's own.
			err = fmt.Errorf("no answer within %v", k.timeout)
		}
		return &Error{Kind: ErrUnavailable, Endpoint: k.endpoint, Status: status, Err: err}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, unavailable(0, plain(err))
	}
	defer resp.Body.Close()
	a := answer{
		endpoint:   k.endpoint,
		status:     resp.StatusCode,
		header:     resp.Header,
		retryAfter: retryAfter(resp.Header.Get("Retry-After"), c.cfg.Now()),
	}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return answer{}, unavailable(a.status, plain(err))
	}
	if len(a.body) > maxBody {
		return answer{}, a.unavailable("answer is larger than 1 MiB")
	}
	if a.status >= 300 && a.status < 400 {
		return answer{}, a.unavailable("redirects are not followed")
	}
	return a, nil
}

// fail makes an error of the answer.
func (a answer) fail(kind error, reason string) *Error {
	e := &Error{Kind: kind, Endpoint: a.endpoint, Status: a.status, RetryAfter: a.retryAfter}
	if reason != "" {
		e.Err = errors.New(reason)
	}
	return e
}

// unavailable makes an ErrUnavailable of the answer.
func (a answer) unavailable(reason string) *Error { return a.fail(ErrUnavailable, reason) }

// object reads an answer of an OAuth endpoint: the members of a success, or an
// error of the kind that kinds gives its code, ErrProvider where it gives none.
//
// The error member decides, not the status: a failure may come with any 4xx
// (CIBA Core 1.0 §11), and what comes with an error is no success.
func (a answer) object(kinds map[string]error) (map[string]jsonValue, error) {
	members, err := parseObject(a.body)
	if err != nil {
		return nil, a.unavailable(err.Error())
	}
	if raw, ok := members["error"]; ok {
		code, ok := raw.text()
		if !ok || code == "" {
			return nil, a.unavailable("its error member is no error code")
		}
		kind, known := kinds[code]
		switch {
		case known:
		case a.status >= 500, a.status == http.StatusTooManyRequests:
			kind = ErrUnavailable // some gateway's error document, not OAuth's
		default:
			kind = ErrProvider
		}
		e := a.fail(kind, "")
		e.Code = printable(code, 100)
		description, _ := members["error_description"].text()
		e.Description = printable(description, 200)
		return nil, e
	}
	if a.status < 200 || a.status > 299 {
		return nil, a.unavailable("answer has no error code")
	}
	return members, nil
}

// plain gives an error of the transport without anything that the request or
// the answer may have put into it, such as a URL or a line of the answer. It
// wraps nothing: a context's error in it would not be the caller's.
func plain(err error) error {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return errors.New("resolving the host " + printable(e.Name, 253) + ": " + e.Err)
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return errors.New(e.Error())
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return errors.New(e.Error())
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return errors.New("the answer is not TLS: is the port right, and no proxy in the way?")
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("connection closed")
	case errors.Is(err, http.ErrSchemeMismatch):
		return http.ErrSchemeMismatch
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return fmt.Errorf("request not carried out (%T)", err)
}

// printable makes a provider's text fit for a log: visible characters and
// spaces, and no more than limit of them.
func printable(s string, limit int) string {
	runes := make([]rune, 0, min(len(s), limit))
	for _, r := range s {
		if len(runes) == limit {
			break
		}
		if !unicode.IsPrint(r) {
			r = ' '
		}
		runes = append(runes, r)
	}
	return string(runes)
}

// maxRetryAfter bounds what a provider can ask for, far beyond any request's
// lifetime.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads a Retry-After header (RFC 9110 §10.2.3): seconds or a date.
// It is 0 for a header that is absent, malformed or in the past.
func retryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), maxRetryAfter)
}
