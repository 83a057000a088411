//go:build browser

package main

import (
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// A reload sends the form again. It joins what is pending, and the phone does
// not ring.
func TestBrowser_reloadDoesNotAskAgain(t *testing.T) {
	s := newStage(t, 0)
	b := s.signIn()
	b.pay("100", waitingHeading)
	for range 2 {
		b.do("reload", follows, chromedp.Reload(), heading(waitingHeading))
	}
	s.checkPushes(cibatest.StateWaiting)
	s.decide("approve")
	b.do("come to the bank's page", heading(bankHeading))
	s.checkBank(`transfer 1: "100" kr. to "Bob"`)
	s.checkPushes(cibatest.StateCollected)
}

// Going back leads to the page of a request that has been sent on. Nothing that
// a person does there without being asked sends it once more.
func TestBrowser_backAfterApprovalDoesNotPayTwice(t *testing.T) {
	s := newStage(t, 0)
	b := s.signIn()
	b.pay("100", waitingHeading)
	s.decide("approve")
	b.do("come to the bank's page", heading(bankHeading))
	b.checkAt("/")
	const once = `transfer 1: "100" kr. to "Bob"`

	// The browser asks before it sends a form again; a reload is the answer.
	b.do("go back", chromedp.Evaluate[chromedp.Void]("history.back()"))
	s.until("the browser has gone back", func() bool {
		shown := b.heading()
		return shown != bankHeading && shown != ""
	})
	for range 2 {
		b.do("reload", chromedp.Reload(), heading(spentHeading))
	}
	b.checkAt("/transfers")
	s.checkBank(once)
	s.checkPushes(cibatest.StateCollected)

	// The same form, filled in the same way once more.
	again := s.another()
	again.pay("100", spentHeading)
	again.do("reload", chromedp.Reload(), heading(spentHeading))
	s.checkBank(once)
	s.checkPushes(cibatest.StateCollected)

	// Paying twice takes an act of will, and another approval.
	again.do("try again", click("#restart button"), heading(waitingHeading))
	s.checkBank(once)
	s.checkPushes(cibatest.StateCollected, cibatest.StateWaiting)
	s.decide("approve")
	again.do("come to the bank's page", heading(bankHeading))
	s.checkBank(once, `transfer 2: "100" kr. to "Bob"`)
}

func TestBrowser_twoTabsWithTheSameRequestPayOnce(t *testing.T) {
	s := newStage(t, 0)
	first := s.signIn()
	second := s.another()
	first.pay("100", waitingHeading)
	second.pay("100", waitingHeading)
	first.do("follow", follows)
	second.do("follow", follows)
	s.checkPushes(cibatest.StateWaiting)
	s.decide("approve")

	var shown []string
	s.until("both tabs go on", func() bool {
		shown = []string{first.heading(), second.heading()}
		return !slices.Contains(shown, waitingHeading) && !slices.Contains(shown, "")
	})
	slices.Sort(shown)
	if diff := cmp.Diff([]string{bankHeading, spentHeading}, shown); diff != "" {
		t.Errorf("the tabs show (-want +got):\n%s", diff)
	}
	s.checkBank(`transfer 1: "100" kr. to "Bob"`)
	s.checkPushes(cibatest.StateCollected)
}

// While one request waits, another must not ring, lest the person approves the
// wrong one.
func TestBrowser_twoTabsWithDifferentRequestsAskOneAtATime(t *testing.T) {
	s := newStage(t, 0)
	first := s.signIn()
	second := s.another()
	first.pay("100", waitingHeading)
	second.pay("9999", conflictHeading)
	s.checkPushes(cibatest.StateWaiting)
	s.decide("approve")
	first.do("come to the bank's page", heading(bankHeading))
	s.checkBank(`transfer 1: "100" kr. to "Bob"`)

	second.do("reload", chromedp.Reload(), heading(waitingHeading))
	s.checkPushes(cibatest.StateCollected, cibatest.StateWaiting)
	s.decide("approve")
	second.do("come to the bank's page", heading(bankHeading))
	s.checkBank(`transfer 1: "100" kr. to "Bob"`, `transfer 2: "9999" kr. to "Bob"`)
}
