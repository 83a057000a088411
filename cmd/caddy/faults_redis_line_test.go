package main

import (
	"io"
	"net"
	"net/http"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
)

// line is the network before a server. It can be cut, also at the moment when
// the server has done what it was asked, and nobody has heard of it.
type line struct {
	address, target string

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	isCut  bool
	losing *loss
}

// loss is a command whose answer is lost.
type loss struct {
	command *regexp.Regexp
	stays   bool // the line stays cut
	done    chan struct{}
}

func newLine(t testing.TB, target string) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{address: listener.Addr().String(), target: target, conns: make(map[net.Conn]struct{})}
	t.Cleanup(l.cut)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go l.connect(client)
		}
	}()
	return l
}

func (l *line) connect(client net.Conn) {
	server, err := net.Dial("tcp", l.target)
	if err != nil {
		client.Close()
		return
	}
	end := func() {
		client.Close()
		server.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.conns, client)
		delete(l.conns, server)
	}
	l.mu.Lock()
	l.conns[client], l.conns[server] = struct{}{}, struct{}{}
	isCut := l.isCut
	l.mu.Unlock()
	if isCut {
		end()
		return
	}
	waits := make(chan *loss, 1) // for the answer that is to be lost
	go func() {
		defer end()
		pass(server, client, func(sent []byte) bool {
			if m := l.match(sent); m != nil {
				waits <- m
			}
			return true
		})
	}()
	go func() {
		defer end()
		pass(client, server, func([]byte) bool {
			select {
			case m := <-waits:
				if m.stays {
					l.cut()
				}
				close(m.done)
				return false
			default:
				return true
			}
		})
	}()
}

// pass hands on what comes, as long as may allows it.
func pass(to io.Writer, from io.Reader, may func([]byte) bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !may(buffer[:n]) {
			return
		}
		if _, writing := to.Write(buffer[:n]); err != nil || writing != nil {
			return
		}
	}
}

// match returns the loss that a command is to have, once.
func (l *line) match(sent []byte) *loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.losing
	if m == nil || !m.command.Match(sent) {
		return nil
	}
	l.losing = nil
	return m
}

// lose has the answer to the next command of a kind lost, and its connection
// cut. With stays, the whole line is cut then. The channel is closed when it has
// happened.
func (l *line) lose(command *regexp.Regexp, stays bool) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.losing = &loss{command, stays, make(chan struct{})}
	return l.losing.done
}

// cut ends all connections, and new ones.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = true
	for c := range l.conns {
		c.Close()
	}
}

// mend ends the cut.
func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = false
}

// scripts are the commands of an approval's life, as they look on the line: by
// the states that they lead from and to, by the time that they set, or by the
// token of a lease, which is a time in microseconds.
var scripts = []struct {
	name    string
	command *regexp.Regexp
	rung    bool          // meant is one that comes when the phone has rung
	open    bool          // the person has not answered yet
	within  time.Duration // after it, the client has its answer
}{
	{name: "creating a record", command: regexp.MustCompile(`(?s)\$8\r\nstarting\r\n[^p]`), within: leaseLapses},
	{name: "scheduling a start", command: regexp.MustCompile(`(?s)queue:.*\$8\r\n30000000\r\n`), within: patience},
	{name: "recording a start", command: regexp.MustCompile(`(?s)\$7\r\npending\r\n.*\$8\r\nstarting\r\n`), within: patience},
	{name: "giving a lease back", command: regexp.MustCompile(`(?s)queue:.*\$16\r\n\d{16}\r\n\$7\r\n1000000\r\n`), open: true, within: leaseLapses},
	{name: "recording an answer", command: regexp.MustCompile(`(?s)\$8\r\napproved\r\n.*\$7\r\npending\r\n`), within: leaseLapses},
	{name: "spending", command: spending, rung: true, within: patience},
	{name: "dropping a lease", command: regexp.MustCompile(`(?s)queue:.*\$16\r\n\d{16}\r\n$`), within: leaseLapses},
	{name: "claiming", command: regexp.MustCompile(`(?s)leases:.*\$8\r\n15000000\r\n`), within: leaseLapses},
}

var spending = regexp.MustCompile(`(?s)\$8\r\napproved\r\n\$5\r\nspent\r\n`)

// redisLineCutInMidScript cuts the line to Redis when a script has run and its
// answer has not come: only that connection, or all of them until people have
// noticed.
func redisLineCutInMidScript(t *testing.T) {
	together(t, map[string]func(*testing.T){
		"one connection":  func(t *testing.T) { cutInMidScript(t, "one connection", false) },
		"all connections": func(t *testing.T) { cutInMidScript(t, "all connections", true) },
	})
}

// cutInMidScript does it for each script, one after the other.
func cutInMidScript(t *testing.T, name string, stays bool) {
	l := newLine(t, redistest.Start(t).Addr)
	s := newSite(t, siteConfig{Store: "redis redis://" + l.address})
	s.normal(t, time.Now()) // the scripts are known
	for _, script := range scripts {
		a := s.person(t).transfer()
		var held <-chan answer
		if script.rung {
			held = a.hold(s.gateways[0])
			a.push()
		}
		lost := l.lose(script.command, stays)
		if !script.rung {
			held = a.hold(s.gateways[0])
		}
		says := func() (end func()) { return (&scene{crowd: &crowd{site: s, acts: []*act{a}}}).sayYes() }
		var end func()
		if !script.open {
			end = says()
		}
		l.refusedUntilMended(t, s, lost, stays)
		if script.open {
			end = says()
		}
		mended := time.Now()
		got := <-held
		if !got.passed() {
			got = a.finish(s.gateways...)
		}
		took := time.Since(mended)
		a.mustPass(got)
		a.passedOnce()
		end()
		if took > script.within {
			t.Errorf("%s: it took %v, want %v at most", script.name, took, script.within)
		}
		tallyOf(a).state(t, "line to Redis cut ("+name+") when this had run: "+script.name, took)
	}
	l.cutWhenUsed(t, s, stays)
	s.check(t, 0)
}

// cutWhenUsed loses the answer to a request that finds its approval there. It
// cannot tell whether it was the one to use it, and is told so; whoever comes
// next cannot use it in any case.
func (l *line) cutWhenUsed(t *testing.T, s *site, stays bool) {
	t.Helper()
	a := s.person(t).transfer()
	a.challenge(s.gateways[0])
	a.approve()
	a.awaitApproved(s.gateways[1])
	lost := l.lose(spending, stays)
	held := a.hold(s.gateways[0])
	l.refusedUntilMended(t, s, lost, stays)
	got := <-held
	if !stays {
		a.mustPass(got)
		a.passedOnce()
		return
	}
	if got.status != http.StatusServiceUnavailable || got.retryAfter == 0 {
		t.Errorf("answer is %v, want 503", got)
	}
	for _, g := range s.gateways {
		a.mustBeSpent(a.ask(g))
	}
	if n := len(a.reached()); n != 0 {
		t.Errorf("the application saw %d requests that were refused", n)
	}
}

// refusedUntilMended waits until an answer is lost. If the line stays cut, it
// sees to it that people are told, and mends it.
func (l *line) refusedUntilMended(t *testing.T, s *site, lost <-chan struct{}, stays bool) {
	t.Helper()
	await(t, lost)
	if !stays {
		return
	}
	s.untouched(t)
	fresh := s.person(t).transfer()
	fresh.probe = true
	got := fresh.ask(s.gateways[1])
	if got.status != http.StatusServiceUnavailable || got.retryAfter == 0 || got.took > refusalTime {
		t.Errorf("answer is %v after %v, want 503", got, got.took)
	}
	l.mend()
}
