package approval

import "sync"

// endedSize is how many approvals that have ended make a generation. The last
// two generations are remembered, some 30 MB.
const endedSize = 1 << 17

// ended is what an engine knows by itself of approvals that were used or have
// ended otherwise, here or at other gateways. The store decides; this is for a
// store that has forgotten: one that was restored, or a replica that had not
// heard of the last moment and has become the primary. The zero value knows of
// none.
type ended struct {
	mu sync.RWMutex

	// The Op of the end, by the approval's ID. When newer is full, older goes.
	newer, older map[string]string
}

// end says that an approval ends, by an operation, and tells whether it is not
// known to have ended by another.
func (e *ended) end(id, op string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if by, ok := e.by(id); ok {
		return by == op
	}
	if e.newer == nil || len(e.newer) >= endedSize {
		e.newer, e.older = make(map[string]string), e.newer
	}
	e.newer[id] = op
	return true
}

// has tells whether an approval is known to have ended.
func (e *ended) has(id string) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	_, ok := e.by(id)
	return ok
}

// by is the operation by which an approval has ended. The caller holds the lock.
func (e *ended) by(id string) (string, bool) {
	op, ok := e.newer[id]
	if !ok {
		op, ok = e.older[id]
	}
	return op, ok
}
