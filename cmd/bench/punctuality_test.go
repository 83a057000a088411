package main

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

var zero = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }

// poll is one of request "a", answered a millisecond after it came.
func poll(ms int) cibatest.Call {
	return cibatest.Call{
		Endpoint: cibatest.EndpointToken, AuthReqID: "a", Started: at(ms), Ended: at(ms + 1),
		Status: http.StatusBadRequest, Error: "authorization_pending",
	}
}

func TestJudge(t *testing.T) {
	unanswered, tooFast, other, cancel := poll(1000), poll(1000), poll(100), poll(100)
	unanswered.Ended = time.Time{}
	tooFast.Error = "slow_down"
	other.AuthReqID = "b"
	cancel.Endpoint = cibatest.EndpointCancel
	ms := func(n ...int) (d []time.Duration) {
		for _, n := range n {
			d = append(d, time.Duration(n)*time.Millisecond)
		}
		return d
	}
	// The request came at 0, the interval is a second.
	for name, c := range map[string]struct {
		calls []cibatest.Call
		want  punctuality
	}{
		"nothing":                      {nil, punctuality{}},
		"on time":                      {[]cibatest.Call{poll(1000)}, punctuality{polls: 1, lateness: ms(0)}},
		"late":                         {[]cibatest.Call{poll(1007)}, punctuality{polls: 1, lateness: ms(7)}},
		"counted from the last answer": {[]cibatest.Call{poll(1007), poll(2010)}, punctuality{polls: 2, lateness: ms(7, 2)}},
		"before the interval is over":  {[]cibatest.Call{poll(999)}, punctuality{polls: 1, early: 1}},
		"early after a poll":           {[]cibatest.Call{poll(1000), poll(2000)}, punctuality{polls: 2, early: 1, lateness: ms(0)}},
		"while another is under way":   {[]cibatest.Call{unanswered, poll(2500)}, punctuality{polls: 2, overlapping: 1, lateness: ms(0)}},
		"before the last is answered":  {[]cibatest.Call{poll(1000), poll(1000)}, punctuality{polls: 2, overlapping: 1, lateness: ms(0)}},
		"slowed down":                  {[]cibatest.Call{tooFast}, punctuality{polls: 1, slowDowns: 1, lateness: ms(0)}},
		"of other things":              {[]cibatest.Call{other, cancel, poll(1000)}, punctuality{polls: 1, lateness: ms(0)}},
		"outside the window":           {[]cibatest.Call{poll(400), poll(1500), poll(3000)}, punctuality{polls: 1, lateness: ms(99)}},
	} {
		requests := []cibatest.Request{{ID: "a", CreatedAt: at(0)}}
		got := judge(c.calls, requests, time.Second, at(500), at(3000))
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(punctuality{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if got.inOrder() != (c.want.early+c.want.overlapping+c.want.slowDowns == 0) {
			t.Errorf("%s: inOrder is %v", name, got.inOrder())
		}
	}
}

func TestLastAnswers_countsFinalOnes(t *testing.T) {
	yes, no, start := poll(2000), poll(3000), poll(9000)
	yes.Status, yes.Error = http.StatusOK, ""
	no.Error = "access_denied"
	start.Endpoint, start.Status = cibatest.EndpointStart, http.StatusOK
	n, last := lastAnswers([]cibatest.Call{poll(1000), no, yes, poll(4000), start})
	if n != 2 || !last.Equal(no.Ended) {
		t.Errorf("%d answers, the last at %v; want 2, the last at %v", n, last, no.Ended)
	}
}
