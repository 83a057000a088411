package storetest

import (
	"context"
	"slices"

	"go.uber.org/goleak"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

var newsTests = []test{
	{"Listen begins with a gap and tells of changes by others", testListen},
	{"a Spend is news, with its op", testListenSpend},
	{"Listen ends with its context and leaves nothing running", testListenEnds},
}

// listen starts a feed. The returned function ends it and waits for that.
func (f *fixture) listen() (<-chan approval.News, func()) {
	f.Helper()
	ctx, cancel := context.WithCancel(f.Context())
	news := make(chan approval.News, 1000)
	ended := make(chan error, 1)
	go func() {
		ended <- f.Store.Listen(ctx, func(n approval.News) { news <- n })
		close(news)
	}()
	if n := receive(f, news, "first message"); !n.Gap || n.Lost || n.ID != "" {
		f.Errorf("the first message is %+v; want a gap", n)
	}
	return news, func() {
		f.Helper()
		cancel()
		receive(f, ended, "end of Listen")
	}
}

// wantNews waits for the news of a change.
func (f *fixture) wantNews(news <-chan approval.News, ref approval.Ref) {
	f.Helper()
	if n := receive(f, news, "news"); n.ID != ref.ID || n.Gap || n.Lost {
		f.Errorf("a message has ID of the change: %t, gap: %t", n.ID == ref.ID, n.Gap)
	}
}

func testListen(f *fixture) {
	ref := newRef()
	f.create(ref)
	news, end := f.listen()
	defer end()
	second, endSecond := f.listen()
	defer endSecond()
	for _, e := range paths[approval.Spent] {
		c := approval.Change{Ref: ref, Event: e, Op: "op " + string(e), Lasts: f.long(), Keep: f.long()}
		if _, err := f.Other.Change(f.Context(), c); err != nil {
			f.Fatalf("Change: %v", err)
		}
		want := approval.News{ID: ref.ID}
		if slices.Contains(e.From(), approval.Approved) {
			want.End = c.Op
		}
		for _, feed := range []<-chan approval.News{news, second} {
			if n := receive(f, feed, "news"); n != want {
				f.Errorf("%s: a message has ID of the change: %t, its end: %q", e, n.ID == ref.ID, n.End)
			}
		}
	}

	// What changes nothing is no news.
	c := approval.Change{Ref: ref, Event: approval.EventCancel, Op: "late", Keep: f.long()}
	if _, err := f.Other.Change(f.Context(), c); err == nil {
		f.Fatal("a spent approval could be cancelled")
	}
	marker := f.inState(approval.Starting)
	f.event(marker, approval.EventCancel)
	f.wantNews(news, marker)
}

func testListenSpend(f *fixture) {
	a := f.approved()
	news, end := f.listen()
	defer end()
	for range 2 { // a repetition is none
		if _, spent := f.spend(a.Ref, "op"); !spent {
			f.Fatal("an approval could not be used")
		}
	}
	f.spend(a.Ref, "another")
	n := receive(f, news, "news")
	for n == (approval.News{ID: a.ID}) {
		// Of the approval. In a Cluster, news of before may come late.
		n = receive(f, news, "news")
	}
	if n != (approval.News{ID: a.ID, End: "op"}) {
		f.Errorf("a message has ID of the use: %t, its op: %q", n.ID == a.ID, n.End)
	}
	marker := f.inState(approval.Starting)
	f.event(marker, approval.EventCancel)
	f.wantNews(news, marker)
}

func testListenEnds(f *fixture) {
	// Whatever the store needs for its calls is there before the count.
	ref := f.inState(approval.Pending)
	_, end := f.listen()
	end()
	before := goleak.IgnoreCurrent()

	news, end := f.listen()
	f.event(ref, approval.EventSlow)
	f.wantNews(news, ref)
	end()
	for range news { // until it is closed: from here on, a late message panics
	}
	witness, end := f.listen()
	f.event(ref, approval.EventDeny)
	f.wantNews(witness, ref)
	end()
	goleak.VerifyNone(f.T, before)

	// A context that has ended already is no reason to hang.
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	ended := make(chan error, 1)
	go func() { ended <- f.Store.Listen(ctx, func(approval.News) {}) }()
	receive(f, ended, "end of Listen")
}
