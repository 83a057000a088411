package cibatest

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"
)

// State says where a request is.
type State string

// The states of a request. Only a waiting one can be decided. An approved
// request that is not collected in time expires like a waiting one.
const (
	StateWaiting   State = "waiting"
	StateApproved  State = "approved" // the tokens wait for a poll
	StateDenied    State = "denied"
	StateExpired   State = "expired"
	StateCancelled State = "cancelled"
	StateFailed    State = "failed"    // ended by [Server.Fail]
	StateCollected State = "collected" // the tokens were given away
)

// Request is an authentication request that the server accepted.
type Request struct {
	ID          string    `json:"auth_req_id"`
	State       State     `json:"state"`
	UUID        string    `json:"uuid"` // as asked; for a CPR number a made-up one
	Text        string    `json:"text"`
	Action      string    `json:"action,omitempty"` // LOG_ON, APPROVE, CONFIRM, ACCEPT, SIGN or empty
	IP          string    `json:"-"`
	ReferenceID string    `json:"-"`
	Nonce       string    `json:"-"`
	CreatedAt   time.Time `json:"created_at"`
	ExpiresAt   time.Time `json:"expires_at"`
}

// request is what the server knows of a request.
type request struct {
	Request
	scope         string
	transactionID string
	interval      time.Duration
	answered      time.Time // when the last poll was answered
	decided       time.Time
	code          string // what Fail gave
	spent         bool   // the final answer was given
}

// Errors of the methods that decide a request.
var (
	// ErrUnknownRequest says that no request has this auth_req_id.
	ErrUnknownRequest = errors.New("unknown auth_req_id")

	// ErrNotWaiting says that the request was decided, cancelled or has
	// expired before.
	ErrNotWaiting = errors.New("request is not waiting")
)

// Requests returns all requests, the oldest first, as they are now.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	list := make([]Request, len(s.requests))
	for i, q := range s.requests {
		q.expire(now)
		list[i] = q.Request
	}
	return list
}

// Approve is the person who says yes: the next poll that comes in time brings
// tokens. The error is [ErrUnknownRequest] or [ErrNotWaiting].
func (s *Server) Approve(id string) error { return s.decide(id, StateApproved, "") }

// Deny is the person who says no: the next poll brings access_denied. The error
// is [ErrUnknownRequest] or [ErrNotWaiting].
func (s *Server) Deny(id string) error { return s.decide(id, StateDenied, "access_denied") }

// errorCode is the alphabet of RFC 6749 §5.2 for the error member.
var errorCode = regexp.MustCompile(`^[\x20-\x21\x23-\x5B\x5D-\x7E]+$`)

// Fail ends a request with an error of the provider's own, for example
// "mitid_flex_app.mitid_error_APP001": the next poll brings that code. The error
// is [ErrUnknownRequest] or [ErrNotWaiting], or says that the code is none.
func (s *Server) Fail(id, code string) error {
	if !errorCode.MatchString(code) {
		return errors.New("checking error code: want printable ASCII without quote and backslash")
	}
	return s.decide(id, StateFailed, code)
}

func (s *Server) decide(id string, to State, code string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.byID[id]
	if q == nil {
		return ErrUnknownRequest
	}
	now := s.cfg.Now()
	q.expire(now)
	if q.State != StateWaiting {
		return fmt.Errorf("%w: it is %s", ErrNotWaiting, q.State)
	}
	q.State, q.code, q.decided = to, code, now
	return nil
}

// expire brings the state up to date.
func (q *request) expire(now time.Time) {
	if (q.State == StateWaiting || q.State == StateApproved) && !now.Before(q.ExpiresAt) {
		q.State, q.code = StateExpired, "expired_token"
	}
}

// handleCancel takes back a request that has no final answer yet. The broker
// documents no client authentication for it.
func (s *Server) handleCancel(x *exchange) answer {
	if x.r.Method != http.MethodDelete {
		return answer{status: http.StatusMethodNotAllowed}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.byID[x.id]
	if q == nil {
		return answer{status: http.StatusNotFound}
	}
	q.expire(s.cfg.Now())
	if q.State != StateWaiting && q.State != StateApproved {
		return answer{status: http.StatusNotFound}
	}
	// What a poll gets after this is not documented. The auth_req_id is no
	// longer valid, and for that the broker has invalid_grant.
	q.State, q.spent = StateCancelled, true
	return answer{status: http.StatusNoContent}
}
