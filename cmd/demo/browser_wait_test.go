//go:build browser

package main

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

func TestBrowser_formIsSentOnWhenApproved(t *testing.T) {
	s := newStage(t, 0)
	b := s.signIn()
	b.pay("250", waitingHeading)
	b.do("follow", follows)
	b.checkAt("/transfers")
	s.checkBank()
	s.checkPushes(cibatest.StateWaiting)

	// What is on the phone is on the page, and what is on the page is what was
	// typed.
	shown, err := chromedp.Run(b.ctx, chromedp.TextContent(chromedp.CSS("blockquote")))
	if err != nil {
		t.Fatal(err)
	}
	if asked := s.pushes()[0].Text; shown != asked || !strings.HasPrefix(asked, "Betal 250 kr. til Bob") {
		t.Errorf("the page shows %q, the phone %q", shown, asked)
	}

	s.decide("approve")
	b.do("come to the bank's page", heading(bankHeading), paragraph("1 overførsler i dag"))
	b.checkAt("/")
	s.checkBank(`transfer 1: "250" kr. to "Bob"`)
	s.checkPushes(cibatest.StateCollected)
}

// A file is parked while its sender is at the phone, and must come out of there
// byte by byte: the boundary that the browser made up, line ends and all.
func TestBrowser_uploadIsSentOnWhole(t *testing.T) {
	content := make([]byte, 300_000)
	random := rand.NewChaCha8([32]byte{})
	random.Read(content)
	file := filepath.Join(t.TempDir(), "kontrakt æøå.pdf")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}

	s := newStage(t, 0)
	b := s.signIn()
	b.do("send the file",
		chromedp.SetUploadFiles(chromedp.CSS(`[type="file"]`), []string{file}),
		click(`[action="/documents"] button`),
		heading(waitingHeading), follows,
	)
	s.checkBank()
	if asked := s.pushes()[0].Text; !strings.HasPrefix(asked, "Send dokumentet Lejekontrakt") {
		t.Errorf("the phone shows %q", asked)
	}
	s.decide("approve")
	hash := fmt.Sprintf("%x", sha256.Sum256(content))
	b.do("come to the bank's page", heading(bankHeading),
		chromedp.WaitVisible(chromedp.Search(`//code[text()="`+hash+`"]`)))
	s.checkBank(`document 1: "Lejekontrakt", file "kontrakt æøå.pdf", 300000 bytes, SHA-256 ` + hash)
	s.checkPushes(cibatest.StateCollected)
}

// Whoever said no is not asked again at once, however often somebody presses.
func TestBrowser_refusalIsShownAndFollowedByAPause(t *testing.T) {
	s := newStage(t, 0)
	b := s.signIn()
	b.pay("100", waitingHeading)
	s.decide("deny")
	b.do("see the refusal", heading(deniedHeading))
	b.do("try again too early", click("#restart button"), heading(limitedHeading), paragraph("Try again in"))
	b.do("reload", chromedp.Reload(), heading(limitedHeading))
	s.checkBank()
	s.checkPushes(cibatest.StateDenied)

	// The refusal still stands for the same request.
	again := s.another()
	again.pay("100", deniedHeading)
	// Another request of this person has to wait as well.
	another := s.another()
	another.pay("101", limitedHeading)
	s.checkBank()
	s.checkPushes(cibatest.StateDenied)
}

func TestBrowser_expiryIsShown(t *testing.T) {
	s := newStage(t, 3*time.Second)
	b := s.signIn()
	b.pay("100", waitingHeading)
	b.do("see the end", heading(expiredHeading))
	s.checkBank()
	s.checkPushes(cibatest.StateExpired)
	b.do("try again", click("#restart button"), heading(waitingHeading))
	s.checkPushes(cibatest.StateExpired, cibatest.StateWaiting)
	s.decide("approve")
	b.do("come to the bank's page", heading(bankHeading))
	s.checkBank(`transfer 1: "100" kr. to "Bob"`)
}

// Cancel takes the request off the phone; only the person starts it again.
func TestBrowser_cancelTakesTheRequestBack(t *testing.T) {
	for name, route := range map[string]struct {
		send           []step
		cancel, again  string
		at             string
		atEnd, arrives string
	}{
		"POST": {
			send:   []step{click(`[action="/transfers"] button`)},
			cancel: "#cancel button", again: "#restart button",
			at: "/transfers", atEnd: "/", arrives: `transfer 1: "100" kr. to "Bob"`,
		},
		"GET": {
			send:   []step{click(`[href="/statements"]`)},
			cancel: "a.second", again: ".controls a",
			at: "/statements", atEnd: "/statements",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, 0)
			b := s.signIn()
			b.do("ask", append(route.send, heading(waitingHeading))...)
			b.do("cancel", click(route.cancel), heading(cancelledHeading))
			b.checkAt(route.at)
			b.do("reload", chromedp.Reload(), heading(cancelledHeading))
			s.checkPushes(cibatest.StateCancelled)
			s.checkBank()

			b.do("try again", click(route.again), heading(waitingHeading))
			b.checkAt(route.at)
			b.do("reload", chromedp.Reload(), heading(waitingHeading), follows)
			s.checkPushes(cibatest.StateCancelled, cibatest.StateWaiting)
			s.decide("approve")
			b.do("come to the bank's page", heading(bankHeading))
			b.checkAt(route.atEnd)
			if route.arrives != "" {
				s.checkBank(route.arrives)
			}
			s.checkPushes(cibatest.StateCancelled, cibatest.StateCollected)
		})
	}
}

func TestBrowser_rememberedRouteAsksOnce(t *testing.T) {
	s := newStage(t, 0)
	b := s.signIn()
	b.do("ask for the statement", click(`[href="/statements"]`), heading(waitingHeading), follows)
	s.decide("approve")
	b.do("see the statement", heading(bankHeading), chromedp.WaitVisible(chromedp.CSS("table")))
	b.checkAt("/statements")

	b.do("go home and come back", click(`[href="/"]`), click(`[href="/statements"]`), chromedp.WaitVisible(chromedp.CSS("table")))
	b.do("reload", chromedp.Reload(), chromedp.WaitVisible(chromedp.CSS("table")))
	second := s.another()
	second.do("see the statement in another tab", click(`[href="/statements"]`), chromedp.WaitVisible(chromedp.CSS("table")))
	s.checkPushes(cibatest.StateCollected)
}
