//go:build browser

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// To a browser, 401 says that its Basic credentials are wrong: it forgets them,
// and then asks its user for the password, in place of the page's own requests.
func TestBrowser_waitingPageKeepsTheSignIn(t *testing.T) {
	s := newStage(t, 0)
	b := s.signIn()
	b.pay("100", waitingHeading)
	second := s.another()
	second.pay("100", waitingHeading)
	s.checkPushes(cibatest.StateWaiting)
}

// withoutScript stops the scripts of pages that the tab loads from now on.
var withoutScript = chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
	return t.Call(ctx, "Emulation.setScriptExecutionDisabled", map[string]bool{"value": true}, nil)
})

func TestBrowser_pageRefreshesWithoutScript(t *testing.T) {
	s := newStage(t, 0)
	b := s.signIn()
	b.do("ask for the statement", withoutScript, click(`[href="/statements"]`),
		heading(waitingHeading), paragraph("This page refreshes by itself"),
		chromedp.WaitNotVisible(chromedp.CSS("#auto")))
	s.decide("approve")
	b.do("see the statement", heading(bankHeading), chromedp.WaitVisible(chromedp.CSS("table")))
	b.checkAt("/statements")
	s.checkPushes(cibatest.StateCollected)
}

func TestBrowser_buttonSendsFormOnWithoutScript(t *testing.T) {
	s := newStage(t, 0)
	b := s.signIn()
	b.do("stop scripts", withoutScript)
	b.pay("100", waitingHeading)
	b.do("continue too early", paragraph("Press Continue"), chromedp.WaitNotVisible(chromedp.CSS("#auto")),
		follow("#continue button"), heading(waitingHeading))
	s.checkPushes(cibatest.StateWaiting)
	s.checkBank()
	s.decide("approve")
	s.until("the button leads to the bank's page", func() bool {
		if b.heading() == waitingHeading {
			b.do("continue", follow("#continue button"))
		}
		return b.heading() == bankHeading
	})
	b.checkAt("/")
	s.checkBank(`transfer 1: "100" kr. to "Bob"`)
	s.checkPushes(cibatest.StateCollected)
}

// A page elsewhere posts the bank's form with the visitor's sign-in and
// cookies, so that the phone rings and somebody may say yes.
func TestBrowser_refusesFormOfAnotherSite(t *testing.T) {
	for name, host := range map[string]string{
		"another port": "127.0.0.1", // the same site for cookies, not the same origin
		"another host": "localhost",
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, 0)
			attacker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w, `<!DOCTYPE html><form method="post" action="http://%s/transfers">
<input name="amount" value="100"><input name="to" value="Bob"><button>Win</button></form>`, s.gate)
			}))
			defer attacker.Close()
			_, port, err := net.SplitHostPort(attacker.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			url := "http://" + net.JoinHostPort(host, port)

			s.signIn()
			b := s.newTab()
			b.do("fall for it", chromedp.Navigate(url), click("button"), heading(crossSiteHeading))
			b.checkAt("/transfers")
			s.checkPushes()
			s.checkBank()

			// Nor does it go on with a request that is pending.
			first := s.another()
			first.pay("100", waitingHeading)
			b.do("fall for it again", chromedp.Navigate(url), click("button"), heading(crossSiteHeading))
			s.decide("approve")
			first.do("come to the bank's page", heading(bankHeading))
			b.do("fall for it once more", chromedp.Navigate(url), click("button"), heading(crossSiteHeading))
			s.checkPushes(cibatest.StateCollected)
			s.checkBank(`transfer 1: "100" kr. to "Bob"`)
		})
	}
}
