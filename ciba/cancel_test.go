package ciba

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestClient_Cancel(t *testing.T) {
	for status, kind := range map[int]error{
		200: nil, 202: nil, 204: nil, 404: nil,
		302: ErrUnavailable, 408: ErrUnavailable, 429: ErrUnavailable, 500: ErrUnavailable, 503: ErrUnavailable,
		400: ErrConfiguration, 401: ErrConfiguration, 405: ErrConfiguration,
	} {
		p := newProvider()
		p.on(pathCancel, status, "")
		err := newClient(t, p, nil).Cancel(t.Context(), testID)
		if kind == nil && err != nil {
			t.Errorf("status %d: %v", status, err)
		}
		if kind != nil {
			wantKind(t, err, kind)
		}
		if r := p.last(); p.count(pathCancel) != 1 || r.Body != nil || r.Header.Get("Authorization") != "" || r.Header.Get("Content-Type") != "" {
			t.Errorf("status %d: request is not one bare DELETE", status)
		}
	}
}

func TestClient_Cancel_endpoint(t *testing.T) {
	p := newProvider()
	p.on("DELETE /c/d/"+testID, 204, "")
	c := newClient(t, p, func(c *Config) { c.Endpoints.Cancel = "https://op.example/c/d/" })
	if err := c.Cancel(t.Context(), testID); err != nil || p.count("DELETE /c/d/"+testID) != 1 {
		t.Errorf("error %v after %v", err, p.last().URL.Path)
	}
	if p.count(pathDiscovery) != 0 {
		t.Error("discovery was fetched, which does not tell this endpoint")
	}
}

func TestClient_Cancel_off(t *testing.T) {
	p := newProvider()
	c := newClient(t, p, func(c *Config) { c.Endpoints.CancelOff = true })
	if err := c.Cancel(t.Context(), testID); err != nil || len(p.seen) != 0 {
		t.Errorf("error %v after %d requests", err, len(p.seen))
	}
}

// An id that leads to another path never becomes part of one.
func TestClient_Cancel_refusesIDsThatLeaveThePath(t *testing.T) {
	p := newProvider()
	for _, id := range []string{"", ".", "..", "../token", "a/b", "a?b", "a%2fb"} {
		wantKind(t, newClient(t, p, nil).Cancel(t.Context(), id), ErrConfiguration)
	}
	if len(p.seen) != 0 {
		t.Error("a request was sent")
	}
}

func TestClient_Cancel_errorsDoNotQuoteTheURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		for name, f := range map[string]func(request) reply{
			"silence": hang,
			"error":   func(r request) reply { return reply{err: errors.New("cannot reach " + r.URL.String())} },
			"wrapped": func(r request) reply {
				return reply{err: &url.Error{Op: "Delete", URL: r.URL.String(), Err: errors.New("x")}}
			},
		} {
			p.handle(pathCancel, f)
			before := time.Now()
			e := wantKind(t, newClient(t, p, nil).Cancel(t.Context(), testID), ErrUnavailable)
			if strings.Contains(e.Error(), testID) {
				t.Errorf("%s: %v", name, e)
			}
			if took := time.Since(before); name == "silence" && took != 10*time.Second {
				t.Errorf("took %v", took)
			}
		}
	})
}
