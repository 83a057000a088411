package redisstore

import (
	"context"
	"strings"
	"sync"
	"time"
)

// usesTime is how long the news of a use may wait for others, so that they go
// together: whoever hears of it needs it only should Redis forget.
const usesTime = 50 * time.Millisecond

// uses are approvals that were used and that the news have not told of yet.
type uses struct {
	publish func(message string)

	mu    sync.Mutex
	lines []string
	told  sync.WaitGroup // under mu
}

// add has a use told, in a moment.
func (u *uses) add(line string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.lines = append(u.lines, line); len(u.lines) == 1 {
		u.told.Add(1)
		time.AfterFunc(usesTime, func() {
			defer u.told.Done()
			u.flush()
		})
	}
}

// flush tells what there is.
func (u *uses) flush() {
	u.mu.Lock()
	lines := u.lines
	u.lines = nil
	u.mu.Unlock()
	if len(lines) > 0 {
		u.publish(strings.Join(lines, "\n"))
	}
}

// tell publishes news. They may be lost: the store decides.
func (s *Store) tell(message string) {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	s.client.Publish(ctx, s.channel(), message)
}
