package redisstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"go.uber.org/goleak"

	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
)

// feed is what a listener hears.
type feed struct {
	t    *testing.T
	news chan approval.News
}

// listen listens until the returned function is called.
func listen(t *testing.T, s *redisstore.Store) (feed, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := feed{t, make(chan approval.News, 100)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil { // as an engine does
			_ = s.Listen(ctx, func(n approval.News) { l.news <- n })
		}
	}()
	return l, func() {
		cancel()
		<-ended
	}
}

// want waits for a message.
func (l feed) want(want approval.News) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 20*time.Second)
	defer cancel()
	select {
	case n := <-l.news:
		if n != want {
			l.t.Fatalf("message %+v; want %+v", n, want)
		}
	case <-ctx.Done():
		l.t.Fatalf("no message; want %+v", want)
	}
}

var (
	gap = approval.News{Gap: true}
	// A Cluster passes news on without a guarantee.
	clusterGap = approval.News{Gap: true, Trust: 900 * time.Millisecond}
	lost       = approval.News{Lost: true}
)

func TestListen_reportsAGapAfterALostConnection(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, redisstore.Options{URLs: []string{server.URL}})
	s.SetHealth(100 * time.Millisecond)
	ref := newRef()
	create(t, s, ref)
	l, end := listen(t, s)
	defer end()
	l.want(gap)
	if err := server.Client(t).ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	l.want(lost)
	l.want(gap)
	change(t, s, ref, approval.EventStarted)
	l.want(approval.News{ID: ref.ID})
}

// A server that is silent, as behind a firewall that has forgotten the
// connection, is noticed by its missing answers to pings.
func TestListen_reportsAGapAfterASilence(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, redisstore.Options{URLs: []string{server.URL}})
	s.SetHealth(100 * time.Millisecond)
	l, end := listen(t, s)
	defer end()
	l.want(gap)
	if err := server.Client(t).Do(t.Context(), "client", "pause", 2000, "all").Err(); err != nil {
		t.Fatal(err)
	}
	l.want(lost)
	l.want(gap)
}

// A server that was only slow has forgotten nothing, and neither has a listener
// to fear that.
func TestListen_knowsAServerThatWasSlow(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, redisstore.Options{URLs: []string{server.URL}})
	s.SetHealth(200 * time.Millisecond)
	l, end := listen(t, s)
	defer end()
	l.want(gap)
	if err := server.Client(t).Do(t.Context(), "client", "pause", 1000, "all").Err(); err != nil {
		t.Fatal(err)
	}
	l.want(lost)
	l.want(approval.News{Gap: true, Same: true})
}

// A quiet feed is not a dead one.
func TestListen_keepsAQuietConnection(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, redisstore.Options{URLs: []string{server.URL}})
	s.SetHealth(200 * time.Millisecond)
	ref := newRef()
	create(t, s, ref)
	l, end := listen(t, s)
	defer end()
	l.want(gap)
	pass(t, server.Client(t), time.Second)
	change(t, s, ref, approval.EventStarted)
	l.want(approval.News{ID: ref.ID})
}

func TestListen_waitsForRedisToCome(t *testing.T) {
	m := miniredis.RunT(t)
	s := open(t, redisstore.Options{URLs: []string{"redis://" + m.Addr()}})
	s.SetHealth(50 * time.Millisecond)
	m.Close()
	before := goleak.IgnoreCurrent()
	l, end := listen(t, s)
	if err := m.Restart(); err != nil {
		t.Fatal(err)
	}
	l.want(gap)
	m.Close()
	if err := m.Restart(); err != nil {
		t.Fatal(err)
	}
	l.want(lost)
	l.want(gap)
	end()
	m.Close()
	goleak.VerifyNone(t, before)
}

// The end of the context must be noticed also while Redis is away.
func TestListen_endsWhileRedisIsAway(t *testing.T) {
	m := miniredis.RunT(t)
	s := open(t, redisstore.Options{URLs: []string{"redis://" + m.Addr()}})
	m.Close()
	l, end := listen(t, s)
	end()
	if len(l.news) != 0 {
		t.Error("a message came from nowhere")
	}
}
