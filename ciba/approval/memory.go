package approval

import (
	"context"
	"sync"
	"time"
)

// memorySize bounds how many remembered approvals an engine knows by heart.
const memorySize = 1 << 16

// memory is what an engine knows of remembered approvals without asking the
// store. It may know something only while it hears of changes: when the store's
// feed is lost, everything is forgotten at once. The zero value knows nothing,
// and learns nothing until hear.
type memory struct {
	mu      sync.RWMutex
	hearing bool
	trust   time.Duration // see [News]
	byKey   map[Key]known
	byID    map[string]Key

	// era is another whenever the feed was lost or came back: what was read in
	// an earlier one may have changed unheard.
	era uint64
}

type known struct {
	grant Grant
	until time.Time
}

// recall returns the grant under a key, if it is known.
func (m *memory) recall(key Key) (Grant, bool) {
	m.mu.RLock()
	k, ok := m.byKey[key]
	m.mu.RUnlock()
	return k.grant, ok && elapsed(k.until) < 0
}

// read begins the reading of a record, and returns the era for learn.
func (m *memory) read() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.era
}

// learn says that a record which was read has brought a grant that is good
// until a certain time. That is known from now on, unless the news have
// overtaken it: an end is known before forget is told of it.
func (m *memory) learn(era uint64, key Key, g Grant, until time.Time, e *ended) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hearing && m.era == era && !e.has(g.ApprovalID) {
		if m.byKey == nil || len(m.byKey) >= memorySize {
			// Starting afresh is cheap: whatever is asked for is read once.
			m.byKey = make(map[Key]known)
			m.byID = make(map[string]Key)
		}
		if trusted := time.Now().Add(m.trust); m.trust > 0 && trusted.Before(until) {
			until = trusted
		}
		delete(m.byID, m.byKey[key].grant.ApprovalID)
		m.byKey[key] = known{g, until}
		m.byID[g.ApprovalID] = key
	}
}

// hear says whether news come, and how far not hearing any can be relied on.
// Either way, what was known is not certain.
func (m *memory) hear(hearing bool, trust time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hearing, m.trust = hearing, trust
	m.byKey, m.byID = nil, nil
	m.era++
}

// forget says that an approval has changed.
func (m *memory) forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if key, ok := m.byID[id]; ok {
		delete(m.byID, id)
		delete(m.byKey, key)
	}
}

// recall is Use for remembered approvals: without a round trip where the
// approval is known.
func (e *Engine) recall(ctx context.Context, b Binding) (Grant, Approval, error) {
	key := e.keys.keyOf(b)
	if g, ok := e.memory.recall(key); ok {
		return g, Approval{}, nil
	}
	era := e.memory.read()
	asked := time.Now()
	rec, err := e.store.Touch(ctx, e.keys.ownerOf(b.UUID), key, presenceTime)
	switch {
	case err != nil:
		return Grant{}, Approval{}, storeError("reading an approval", err)
	case rec.State != Approved:
		return Grant{}, e.view(rec), ErrNotApproved
	}
	if e.ended.has(rec.ID) {
		e.logForgetful(ctx, rec.ID)
		// Tell the store again, for those who do not know. If that fails, the
		// next request does.
		_, _ = e.cancel(ctx, rec, Change{Event: EventCancel, Keep: keepTime})
		return Grant{}, e.refused(rec, Cancelled, ""), ErrNotApproved
	}
	g, err := e.grant(ctx, rec)
	if err != nil {
		return Grant{}, e.refused(rec, Failed, ReasonUnreadable), err
	}
	e.memory.learn(era, key, g, asked.Add(rec.Left), &e.ended)
	return g, Approval{}, nil
}
