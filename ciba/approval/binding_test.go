package approval_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// Law 2: whatever differs, nothing is found.
func TestBinding_findsNothingForAnyDifference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		a := begin(t, e, b)
		w.approve()
		a = wait(t, e, a, approval.Approved)
		for name, change := range map[string]func(*approval.Binding){
			"session":       func(b *approval.Binding) { b.Session = e.NewSession() },
			"user":          func(b *approval.Binding) { b.User = "bob" },
			"user's case":   func(b *approval.Binding) { b.User = "Alice" },
			"MitID":         func(b *approval.Binding) { b.UUID = otherUUID },
			"policy":        func(b *approval.Binding) { b.Policy = "transfers v2" },
			"request":       func(b *approval.Binding) { b.Request = []byte("POST /transfers amount=900&to=Bob") },
			"longer":        func(b *approval.Binding) { b.Request = append(bytes.Clone(b.Request), 0) },
			"no request":    func(b *approval.Binding) { b.Request = nil },
			"moved a field": func(b *approval.Binding) { b.User, b.Policy = "alicetransfers", " v1" },
		} {
			other := b
			change(&other)
			if _, err := e.Find(t.Context(), other); !errors.Is(err, approval.ErrNotFound) {
				t.Errorf("other %s: error %v, want ErrNotFound", name, err)
			}
			if _, _, err := e.Use(t.Context(), other); !errors.Is(err, approval.ErrNotFound) {
				t.Errorf("other %s: using gives %v, want ErrNotFound", name, err)
			}
		}
		upper := b
		upper.UUID = strings.ToUpper(b.UUID)
		if _, err := e.Find(t.Context(), upper); err != nil {
			t.Errorf("the same UUID in capitals: %v", err)
		}
	})
}

func TestBinding_refusesEmptyParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newWorld(t).engine()
		for name, change := range map[string]func(*approval.Binding){
			"session": func(b *approval.Binding) { b.Session = approval.Session{} },
			"user":    func(b *approval.Binding) { b.User = "" },
			"UUID":    func(b *approval.Binding) { b.UUID = "" },
			"policy":  func(b *approval.Binding) { b.Policy = "" },
			"request": func(b *approval.Binding) { b.Request = []byte{} },
		} {
			b := binding(e)
			change(&b)
			if _, err := e.Begin(t.Context(), b, "", ask); err == nil {
				t.Errorf("a binding without %s was accepted", name)
			}
			if _, _, err := e.Use(t.Context(), b); err == nil {
				t.Errorf("a binding without %s was used", name)
			}
		}
	})
}
