package storetest

import (
	"errors"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// pause draws how long it is until an approval is due: not at all, or some
// time.
func (m *model) pause(t *rapid.T) time.Duration {
	if !m.f.Exact {
		m.now++ // keeps in order what real time keeps in order
	}
	if rapid.Bool().Draw(t, "at once") {
		return 0
	}
	return m.half(t, "pause")
}

func (m *model) schedule(t *rapid.T) {
	ref, after := m.ref(t), m.pause(t)
	if err := m.f.Store.Schedule(m.f.Context(), ref, after); err != nil {
		t.Fatalf("Schedule: %v", err)
	}
	m.queue[ref] = &modelPoll{due: m.now + after}
}

func (m *model) claim(t *rapid.T) {
	limit, length := rapid.IntRange(0, 4).Draw(t, "limit"), m.half(t, "length")
	var want []time.Duration
	for _, p := range m.queue {
		if p.due <= m.now {
			want = append(want, p.due)
		}
	}
	slices.Sort(want)
	want = want[:min(limit, len(want))]

	leases, next, err := m.f.Store.Claim(m.f.Context(), limit, length)
	if err != nil {
		t.Fatalf("Claim: %v", err)
	}
	var got []time.Duration
	for _, l := range leases {
		p := m.queue[l.Ref]
		if p == nil {
			t.Fatal("Claim took what is not in the queue")
		}
		if slices.Contains(m.leases, l) {
			t.Fatal("Claim gave out a token again")
		}
		got = append(got, p.due)
		m.queue[l.Ref] = &modelPoll{due: m.now + length, token: l.Token}
		m.leases = append(m.leases, l)
	}
	// Approvals that are due at the same time may come in any order.
	if !slices.Equal(got, want) {
		t.Fatalf("Claim took what was due at %v; want %v", got, want)
	}
	m.checkNext(t, next)
}

// checkNext compares how long it is until the next approval is due.
func (m *model) checkNext(t *rapid.T, next time.Duration) {
	t.Helper()
	want := time.Duration(-1)
	for _, p := range m.queue {
		if wait := max(0, p.due-m.now); want < 0 || wait < want {
			want = wait
		}
	}
	switch {
	case want < 0 && next < 0, next == want:
	case !m.f.Exact && next > 0 && next < want:
	default:
		t.Fatalf("the next is due in %v; want %v", next, want)
	}
}

// lease draws one of the leases that were ever given out.
func (m *model) lease(t *rapid.T) approval.Lease {
	if len(m.leases) == 0 {
		t.Skip("no lease yet")
	}
	return rapid.SampledFrom(m.leases).Draw(t, "lease")
}

// good tells whether a lease is good: until somebody else has the approval, or
// Schedule has moved it.
func (m *model) good(l approval.Lease) bool {
	p := m.queue[l.Ref]
	return p != nil && p.token == l.Token
}

func (m *model) extend(t *rapid.T) {
	l, after := m.lease(t), m.pause(t)
	extended, err := m.f.Store.Extend(m.f.Context(), l, after)
	if !m.good(l) {
		if !errors.Is(err, approval.ErrLeaseLost) {
			t.Fatalf("Extend: error %v; want ErrLeaseLost", err)
		}
		return
	}
	if err != nil || extended.Ref != l.Ref {
		t.Fatalf("Extend: error %v", err)
	}
	m.queue[l.Ref] = &modelPoll{due: m.now + after, token: extended.Token}
	m.leases = append(m.leases, extended)
}

func (m *model) drop(t *rapid.T) {
	l := m.lease(t)
	if err := m.f.Store.Drop(m.f.Context(), l); err != nil {
		t.Fatalf("Drop: %v", err)
	}
	if m.good(l) {
		delete(m.queue, l.Ref)
	}
}
