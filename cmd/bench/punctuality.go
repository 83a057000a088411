package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// punctuality says how polls kept to the broker's interval.
type punctuality struct {
	polls     int
	slowDowns int

	// early are polls that came before the interval was over, overlapping
	// those that came before the last one was answered. There must be none.
	early, overlapping int

	// lateness is how much later than the interval the polls came.
	lateness []time.Duration
}

// inOrder says whether no poll came at a wrong time.
func (p punctuality) inOrder() bool { return p.early == 0 && p.overlapping == 0 && p.slowDowns == 0 }

// disorder counts those that did.
func (p punctuality) disorder() string {
	return fmt.Sprintf("%d, %d, %d", p.early, p.overlapping, p.slowDowns)
}

// judge looks at the polls that came from one time on and before another. It
// is given the broker's log from its beginning.
func judge(calls []cibatest.Call, requests []cibatest.Request, interval time.Duration, from, to time.Time) punctuality {
	last := make(map[string]time.Time, len(requests)) // when the broker was last heard; zero while a poll is under way
	for _, r := range requests {
		last[r.ID] = r.CreatedAt
	}
	var p punctuality
	for _, c := range calls {
		heard, known := last[c.AuthReqID]
		if c.Endpoint != cibatest.EndpointToken || !known {
			continue
		}
		last[c.AuthReqID] = c.Ended
		if c.Started.Before(from) || !c.Started.Before(to) {
			continue
		}
		p.polls++
		if c.Error == "slow_down" {
			p.slowDowns++
		}
		late := c.Started.Sub(heard.Add(interval))
		switch {
		case heard.IsZero() || c.Started.Before(heard):
			p.overlapping++
		case late < 0:
			p.early++
		default:
			p.lateness = append(p.lateness, late)
		}
	}
	return p
}

// lastAnswers says how many requests got their final answer, of either kind,
// and when the last of them did.
func lastAnswers(calls []cibatest.Call) (answers int, last time.Time) {
	for _, c := range calls {
		final := c.Status == http.StatusOK || c.Error == "access_denied"
		if c.Endpoint != cibatest.EndpointToken || !final {
			continue
		}
		answers++
		if c.Ended.After(last) {
			last = c.Ended
		}
	}
	return answers, last
}
