package approval

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// waiters are the requests of this process that wait for approvals. The zero
// value is ready for use.
type waiters struct {
	mu   sync.Mutex
	byID map[string][]chan struct{}
}

// add returns a channel that gets a message when the approval has changed.
func (w *waiters) add(id string) chan struct{} {
	news := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byID == nil {
		w.byID = make(map[string][]chan struct{})
	}
	w.byID[id] = append(w.byID[id], news)
	return news
}

func (w *waiters) remove(id string, news chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := slices.DeleteFunc(w.byID[id], func(c chan struct{}) bool { return c == news })
	if len(rest) == 0 {
		delete(w.byID, id)
		return
	}
	w.byID[id] = rest
}

// tell wakes those who wait for one approval.
func (w *waiters) tell(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, news := range w.byID[id] {
		wake(news)
	}
}

// tellAll wakes everybody, after news were lost.
func (w *waiters) tellAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, all := range w.byID {
		for _, news := range all {
			wake(news)
		}
	}
}

// wake leaves a message unless there is one already.
func wake(news chan struct{}) {
	select {
	case news <- struct{}{}:
	default:
	}
}

// listen passes the store's news to the waiters for as long as the engine
// runs.
func (e *Engine) listen() {
	told := false  // of the trouble, since the feed was up
	heard := false // that it was up
	for {
		err := e.store.Listen(e.run, func(n News) {
			switch {
			case n.Lost:
				e.unrest.doubt()
				e.memory.hear(false, 0)
				if e.run.Err() == nil {
					e.logger.LogAttrs(e.run, slog.LevelWarn, "approval store is slow to tell the news: until it does, remembered approvals are read each time, and polls pause")
				}
			case n.Gap && n.Same: // late, but all of it has come
				e.unrest.trust()
				e.memory.hear(true, n.Trust)
			case n.Gap:
				if heard {
					e.unrest.note()
				}
				told, heard = false, true
				e.memory.hear(true, n.Trust)
				e.waiters.tellAll()
			default:
				if n.End != "" {
					e.ended.end(n.ID, n.End)
				}
				e.tell(n.ID)
			}
		})
		if heard && !told {
			e.unrest.note()
		}
		e.memory.hear(false, 0)
		if e.run.Err() != nil {
			return
		}
		if !told {
			told = true
			e.logger.LogAttrs(e.run, slog.LevelWarn, "listening to the approval store: news come late until it is back", slog.Any("error", err))
		}
		if pause(e.run, time.Second) != nil {
			return
		}
	}
}

// tell passes on that an approval has changed.
func (e *Engine) tell(id string) {
	e.memory.forget(id)
	e.waiters.tell(id)
}

// elapsed is how long something is past, by the clock that says more: the one
// that cannot be set stands still while a virtual machine is suspended.
func elapsed(since time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}

// pause waits, or returns the context's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
