package approval

import (
	"sync"
	"time"
)

const (
	// spentTime is how long an engine remembers that an approval was used:
	// longer than it would take it for good, should the store bring it back.
	spentTime = useTime + clockTolerance

	// spentSize bounds how many it remembers, twice.
	spentSize = 1 << 18
)

// spent is what an engine knows by itself of approvals that were used, here or
// at other gateways. The store decides; this is for a store that has forgotten:
// one that was restored, or a replica that had not heard of the last moment and
// has become the primary. The zero value knows of none.
type spent struct {
	mu sync.Mutex

	// The Op of the use, by the approval's ID. What is in older goes when newer
	// is old.
	newer, older map[string]string
	since        time.Time // when newer was begun
}

// use says that an approval is used, by an operation, and tells whether no
// other is known to have used it.
func (s *spent) use(id, op string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, known := range []map[string]string{s.newer, s.older} {
		if by, ok := known[id]; ok {
			return by == op
		}
	}
	if now := time.Now(); s.newer == nil || len(s.newer) >= spentSize || now.Sub(s.since) > spentTime {
		s.newer, s.older, s.since = make(map[string]string), s.newer, now
	}
	s.newer[id] = op
	return true
}
