package redisstore_test

import (
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
)

// A primary that the sentinels do not reach any more does not know that it is
// none. It answers to who has subscribed there, but the news are elsewhere.
func TestListen_isLostAtAPrimaryThatHasBeenReplaced(t *testing.T) {
	t.Parallel()
	sentinel := redistest.StartSentinel(t, 1)
	allow(t, sentinel.Servers, "stepup", rules)
	s := openLive(t, redisstore.Options{URLs: as(sentinel.URLs(), ""), MasterName: redistest.MasterName})
	l, end := listen(t, s)
	defer end()
	l.want(gap)
	ref := newRef()
	create(t, s, ref)
	replicated(t, sentinel.Servers[0], 1)

	old := sentinel.Servers[0]
	if err := old.Client(t).Do(t.Context(), "acl", "setuser", "default", "-@all").Err(); err != nil {
		t.Fatal(err)
	}
	sentinel.Failover(t, old)
	recovered(t, func() error {
		_, err := s.Change(t.Context(), approval.Change{Ref: ref, Event: approval.EventStarted, Op: "op", Lasts: time.Hour, Keep: time.Hour})
		return err
	})
	begun := time.Now()
	if n := <-l.news; n != lost && n.ID != ref.ID {
		t.Fatalf("message %+v; want that the feed is lost", n)
	}
	t.Logf("lost after %v", time.Since(begun))
	for n := range l.news {
		if n == gap {
			break
		}
	}
	change(t, s, ref, approval.EventApprove)
	l.want(approval.News{ID: ref.ID})
}
