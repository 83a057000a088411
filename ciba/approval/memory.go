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
	byPlace map[memoryPlace]known
	byID    map[string]memoryPlace

	reading int  // how many records are being read
	deaf    bool // the feed was lost meanwhile
}

type memoryPlace struct {
	owner Tag
	key   Key
}

type known struct {
	grant Grant
	until time.Time
}

// recall returns the grant under a key, if it is known.
func (m *memory) recall(at memoryPlace) (Grant, bool) {
	m.mu.RLock()
	k, ok := m.byPlace[at]
	m.mu.RUnlock()
	return k.grant, ok && time.Now().Before(k.until)
}

// read begins the reading of a record.
func (m *memory) read() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reading++
}

// learn ends the reading of a record. Where it brought a grant that is good
// until a certain time, that is known from now on, unless the news have
// overtaken it: an end is known before forget is told of it.
func (m *memory) learn(at memoryPlace, g Grant, until time.Time, e *ended) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hearing && !m.deaf && g.ApprovalID != "" && !e.has(g.ApprovalID) {
		if m.byPlace == nil || len(m.byPlace) >= memorySize {
			// Starting afresh is cheap: whatever is asked for is read once.
			m.byPlace = make(map[memoryPlace]known)
			m.byID = make(map[string]memoryPlace)
		}
		delete(m.byID, m.byPlace[at].grant.ApprovalID)
		m.byPlace[at] = known{g, until}
		m.byID[g.ApprovalID] = at
	}
	if m.reading--; m.reading == 0 {
		m.deaf = false
	}
}

// hear says whether news come. Either way, what was known is not certain.
func (m *memory) hear(hearing bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hearing = hearing
	m.byPlace, m.byID = nil, nil
	m.deaf = m.reading > 0
}

// forget says that an approval has changed.
func (m *memory) forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at, ok := m.byID[id]; ok {
		delete(m.byID, id)
		delete(m.byPlace, at)
	}
}

// recall is Use for remembered approvals: without a round trip where the
// approval is known.
func (e *Engine) recall(ctx context.Context, owner Tag, key Key) (Grant, Approval, error) {
	at := memoryPlace{owner, key}
	if g, ok := e.memory.recall(at); ok {
		return g, Approval{}, nil
	}
	var learned Grant
	var until time.Time
	e.memory.read()
	defer func() { e.memory.learn(at, learned, until, &e.ended) }()

	asked := time.Now()
	rec, err := e.store.Touch(ctx, owner, key, presenceTime)
	switch {
	case err != nil:
		return Grant{}, Approval{}, storeError("reading an approval", err)
	case rec.State != Approved:
		return Grant{}, e.view(rec), ErrNotApproved
	}
	if e.ended.has(rec.ID) {
		e.logForgetful(ctx, rec.ID)
		a := e.view(rec)
		a.State = Cancelled
		return Grant{}, a, ErrNotApproved
	}
	g, err := e.grant(ctx, rec)
	if err != nil {
		return Grant{}, e.unproven(rec), err
	}
	learned, until = g, asked.Add(rec.Left)
	return g, Approval{}, nil
}
