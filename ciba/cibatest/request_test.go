package cibatest

import (
	"errors"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"
)

func TestDecisions_areForWaitingRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{})
		decisions := map[string]func(string) error{
			"approve": s.Approve,
			"deny":    s.Deny,
			"fail":    func(id string) error { return s.Fail(id, "x") },
		}
		approved, denied, expired := start(t, s), start(t, s), start(t, s)
		must(t, s.Approve(approved))
		must(t, s.Deny(denied))
		time.Sleep(300 * time.Second)
		for name, decide := range decisions {
			if err := decide("unknown"); !errors.Is(err, ErrUnknownRequest) {
				t.Errorf("%s unknown: %v", name, err)
			}
			for _, id := range []string{approved, denied, expired} {
				if err := decide(id); !errors.Is(err, ErrNotWaiting) {
					t.Errorf("%s decided: %v", name, err)
				}
			}
		}
	})
}

func TestFail_refusesWhatIsNoErrorCode(t *testing.T) {
	s := newServer(t, Config{})
	id := start(t, s)
	for _, code := range []string{"", "a\"b", "æ", "a\n"} {
		if err := s.Fail(id, code); err == nil {
			t.Errorf("Fail(%q) = nil", code)
		}
	}
	if got := s.Requests()[0].State; got != StateWaiting {
		t.Errorf("state %s", got)
	}
}

func cancel(t *testing.T, s *Server, id string) int {
	t.Helper()
	return do(t, s, newRequest(t, http.MethodDelete, testIssuer+"/api/v1/ciba/"+url.PathEscape(id), "")).status
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{})
		if got := cancel(t, s, "unknown/.. ?"); got != http.StatusNotFound {
			t.Errorf("unknown: %d", got)
		}
		if got := s.Log()[0]; got.AuthReqID != "unknown/.. ?" || got.Endpoint != EndpointCancel || got.Status != 404 {
			t.Errorf("log %v", got)
		}

		waiting, approved, denied, collected := start(t, s), start(t, s), start(t, s), start(t, s)
		must(t, s.Approve(approved))
		must(t, s.Approve(collected))
		must(t, s.Deny(denied))
		wantPoll(t, s, collected, "")
		for _, id := range []string{waiting, approved} {
			if got := cancel(t, s, id); got != http.StatusNoContent {
				t.Errorf("first: %d", got)
			}
			if got := cancel(t, s, id); got != http.StatusNotFound {
				t.Errorf("again: %d", got)
			}
			wantPoll(t, s, id, "invalid_grant")
			if err := s.Approve(id); !errors.Is(err, ErrNotWaiting) {
				t.Errorf("approving the cancelled: %v", err)
			}
		}
		for _, id := range []string{denied, collected} {
			if got := cancel(t, s, id); got != http.StatusNotFound {
				t.Errorf("decided: %d", got)
			}
		}
		expired := start(t, s)
		time.Sleep(300 * time.Second)
		if got := cancel(t, s, expired); got != http.StatusNotFound {
			t.Errorf("expired: %d", got)
		}
		wantPoll(t, s, denied, "access_denied")
		for i, want := range []State{StateCancelled, StateCancelled, StateDenied, StateCollected, StateExpired} {
			if got := s.Requests()[i].State; got != want {
				t.Errorf("request %d is %s, want %s", i, got, want)
			}
		}
	})
}
