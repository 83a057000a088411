package approval_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

func TestSession_isOnlyTakenBackFromAnEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		s := e.NewSession()
		token := e.SessionToken(s)
		if got, ok := e.ParseSession(token); !ok || got != s {
			t.Error("a session did not come back")
		}
		if got, ok := w.engine().ParseSession(token); !ok || got != s {
			t.Error("another gateway does not know the session")
		}
		stranger, err := approval.NewEngine(approval.Config{Provider: w.client, Store: w.store, Secret: []byte("another secret, of others")})
		if err != nil {
			t.Fatal(err)
		}
		defer stranger.Close()
		if _, ok := stranger.ParseSession(token); ok {
			t.Error("an engine with another secret took the session")
		}
		for name, forged := range map[string]string{
			"empty":     "",
			"cut":       token[:len(token)-1],
			"longer":    token + "A",
			"all As":    strings.Repeat("A", len(token)),
			"not b64":   strings.Repeat("!", len(token)),
			"new line":  token[:10] + "\n" + token[11:],
			"bit apart": flip(token),
		} {
			if _, ok := e.ParseSession(forged); ok {
				t.Errorf("%s: taken", name)
			}
		}
		if shown := fmt.Sprintf("%v %+v %#v", s, s, s); strings.Count(shown, "approval.Session{…}") != 3 {
			t.Errorf("a session shows itself: %s", shown)
		}
	})
}

// flip changes the token's first character.
func flip(token string) string {
	if token[0] == 'A' {
		return "B" + token[1:]
	}
	return "A" + token[1:]
}
