package caddymodule

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/approval/memstore"
)

// newTestEngine makes an engine that nobody approves anything at: sessions
// need no more.
func newTestEngine(t testing.TB, secret byte) *approval.Engine {
	t.Helper()
	s := memstore.New(memstore.Config{})
	e, err := approval.NewEngine(approval.Config{Store: s, Secret: bytes.Repeat([]byte{secret}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestTakeCookies_leavesEveryOtherByte(t *testing.T) {
	for _, tt := range []struct {
		name     string
		in, want []string
	}{
		{"none", nil, nil},
		{"only others", []string{`a=1; b="2 3";c=4;  d`}, []string{`a=1; b="2 3";c=4;  d`}},
		{"only ours", []string{"__Host-step_up=x"}, nil},
		{"only ours, plain", []string{"step_up=x"}, nil},
		{"first", []string{"__Host-step_up=x; a=1"}, []string{"a=1"}},
		{"last", []string{"a=1; __Host-step_up=x"}, []string{"a=1"}},
		{"in the middle", []string{"a=1; __Host-step_up=x; b=2"}, []string{"a=1; b=2"}},
		{"without spaces", []string{"a=1;step_up=x;b=2"}, []string{"a=1;b=2"}},
		{"quoted", []string{`a=1; step_up="x"; b="y"`}, []string{`a=1; b="y"`}},
		{"without a value", []string{"a=1; step_up; b=2"}, []string{"a=1; b=2"}},
		{"with an equals sign in the value", []string{"step_up=x=y; b=c=d"}, []string{"b=c=d"}},
		{"both names", []string{"step_up=x; a=1; __Host-step_up=y"}, []string{"a=1"}},
		{"twice", []string{"step_up=x; a=1; step_up=y"}, []string{"a=1"}},
		{"over several lines", []string{"a=1; step_up=x", "step_up=y", "b=2"}, []string{"a=1", "b=2"}},
		{"names that begin or end alike", []string{"step_up2=x; my_step_up=y; Step_Up=z; __host-step_up=w"}, []string{"step_up2=x; my_step_up=y; Step_Up=z; __host-step_up=w"}},
		{"our name as another's value", []string{"a=step_up; b=x=step_up"}, []string{"a=step_up; b=x=step_up"}},
		{"stray semicolons", []string{"a=1;; b=2;"}, []string{"a=1;; b=2;"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{"X-Other": {"1"}}
			if tt.in != nil {
				h["Cookie"] = slices.Clone(tt.in)
			}
			takeCookies(h, func(_, _ string) {})
			if diff := cmp.Diff(tt.want, h["Cookie"]); diff != "" {
				t.Errorf("Cookie differs (-want +got):\n%s", diff)
			}
			if _, ok := h["Cookie"]; ok && tt.want == nil {
				t.Error("an empty Cookie header is left")
			}
			if h.Get("X-Other") != "1" {
				t.Error("another header is gone")
			}
		})
	}
}

func TestTakeSession(t *testing.T) {
	e := newTestEngine(t, 1)
	session := func() (approval.Session, string) {
		s := e.NewSession()
		return s, e.SessionToken(s)
	}
	first, firstToken := session()
	second, secondToken := session()
	foreign := newTestEngine(t, 2)
	forged := foreign.SessionToken(foreign.NewSession())
	none := approval.Session{}
	for _, tt := range []struct {
		name    string
		tls     bool
		cookies []string
		header  string
		want    approval.Session
	}{
		{"nothing", true, nil, "", none},
		{"a cookie", true, []string{"__Host-step_up=" + firstToken}, "", first},
		{"a quoted cookie", true, []string{`__Host-step_up="` + firstToken + `"`}, "", first},
		{"a cookie on plain HTTP", false, []string{"step_up=" + firstToken}, "", first},
		{"a header", true, nil, firstToken, first},
		{"a valid header goes before a cookie", true, []string{"__Host-step_up=" + firstToken}, secondToken, second},
		{"a forged header leaves the cookie", true, []string{"__Host-step_up=" + firstToken}, forged, first},
		{"a forged cookie leaves the header", true, []string{"__Host-step_up=" + forged}, firstToken, first},
		{"forged by somebody with another secret", true, []string{"__Host-step_up=" + forged}, forged, none},
		{"a forged cookie before the good one", true, []string{"__Host-step_up=" + forged + "; __Host-step_up=" + firstToken}, "", first},
		{"a forged cookie on a line before", true, []string{"__Host-step_up=" + forged, "__Host-step_up=" + firstToken}, "", first},
		{"the first of two good ones", true, []string{"__Host-step_up=" + firstToken + "; __Host-step_up=" + secondToken}, "", first},
		// Anybody on a neighbouring host or on the wire can set a cookie
		// without the prefix.
		{"a planted cookie without the prefix is not taken on TLS", true, []string{"step_up=" + firstToken}, "", none},
		{"a cookie with the prefix is not taken on plain HTTP", false, []string{"__Host-step_up=" + firstToken}, "", none},
		{"a token cut short", true, []string{"__Host-step_up=" + firstToken[:len(firstToken)-1]}, firstToken[1:], none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "http://bank.example/", nil)
			if tt.tls {
				r.TLS = &tls.ConnectionState{HandshakeComplete: true}
			}
			r.Header["Cookie"] = append(slices.Clone(tt.cookies), "app=1")
			got, had := takeSession(e, r, tt.header)
			if got != tt.want || had != tt.want.Valid() {
				t.Errorf("got another session than wanted, or had = %v is wrong", had)
			}
			// Whatever it was worth, the upstream does not see it.
			if diff := cmp.Diff([]string{"app=1"}, r.Header["Cookie"]); diff != "" {
				t.Errorf("Cookie differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGiveSession(t *testing.T) {
	e := newTestEngine(t, 1)
	s := e.NewSession()
	token := e.SessionToken(s)
	for _, tt := range []struct {
		name     string
		tls      bool
		header   http.Header
		cookie   string
		inHeader string
	}{
		{
			"on TLS the cookie is bound to the host", true, nil,
			"__Host-step_up=" + token + "; Path=/; HttpOnly; Secure; SameSite=Lax", token,
		},
		{
			"on plain HTTP it has no prefix and is not Secure", false, nil,
			"step_up=" + token + "; Path=/; HttpOnly; SameSite=Lax", token,
		},
		// A script must not get to read the secret, which HttpOnly hides.
		{
			"browsers do not get the header", true, http.Header{"Sec-Fetch-Site": {"same-origin"}},
			"__Host-step_up=" + token + "; Path=/; HttpOnly; Secure; SameSite=Lax", "",
		},
		{
			"browsers that tell only the mode do not get the header", true, http.Header{"Sec-Fetch-Mode": {"cors"}},
			"__Host-step_up=" + token + "; Path=/; HttpOnly; Secure; SameSite=Lax", "",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "http://bank.example/transfers", nil)
			if tt.tls {
				r.TLS = &tls.ConnectionState{HandshakeComplete: true}
			}
			if tt.header != nil {
				r.Header = tt.header
			}
			w := httptest.NewRecorder()
			giveSession(e, w, r, s)
			if diff := cmp.Diff([]string{tt.cookie}, w.Header()["Set-Cookie"]); diff != "" {
				t.Errorf("Set-Cookie differs (-want +got):\n%s", diff)
			}
			if got := w.Header().Get("Step-Up-Session"); got != tt.inHeader {
				t.Errorf("Step-Up-Session has %d characters, want %d", len(got), len(tt.inHeader))
			}
		})
	}
}

// What was given is taken back, on the same scheme.
func TestGiveSession_comesBack(t *testing.T) {
	e := newTestEngine(t, 1)
	for _, target := range []string{"http://bank.example/", "https://bank.example/"} {
		s := e.NewSession()
		w := httptest.NewRecorder()
		giveSession(e, w, httptest.NewRequest("GET", target, nil), s)
		r := httptest.NewRequest("GET", target, nil)
		r.AddCookie(w.Result().Cookies()[0])
		if got, had := takeSession(e, r, ""); !had || got != s {
			t.Errorf("%s: the cookie does not bring the session back", target)
		}
		if got, had := takeSession(e, httptest.NewRequest("GET", target, nil), w.Header().Get("Step-Up-Session")); !had || got != s {
			t.Errorf("%s: the header does not bring the session back", target)
		}
	}
}

// FuzzCookies checks that the upstream sees no cookie of the gate's, and every
// other one as it was.
func FuzzCookies(f *testing.F) {
	f.Add("a=1; step_up=x; b=2", "__Host-step_up=y")
	f.Add(`step_up="x;y"; a="1"`, ";;=;step_up")
	f.Add("step_up=x;a=1", "step_up2=1;x step_up=1")
	f.Add(" a", "step_up=")
	f.Fuzz(func(t *testing.T, first, second string) {
		// HTTP has no space around a header's value.
		in := []string{strings.TrimSpace(first), strings.TrimSpace(second)}
		r := &http.Request{Header: http.Header{"Cookie": slices.Clone(in)}}
		var want []string
		for _, c := range r.Cookies() {
			if c.Name != secureCookie && c.Name != plainCookie {
				want = append(want, c.String())
			}
		}
		takeCookies(r.Header, func(_, _ string) {})
		var got []string
		for _, c := range r.Cookies() {
			if c.Name == secureCookie || c.Name == plainCookie {
				t.Fatalf("%q still has the cookie %s", r.Header["Cookie"], c.Name)
			}
			got = append(got, c.String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("other cookies differ (-want +got):\n%s", diff)
		}
		for _, line := range in {
			if !strings.Contains(line, plainCookie) && !slices.Contains(r.Header["Cookie"], line) {
				t.Fatalf("line %q is not left as it was: %q", line, r.Header["Cookie"])
			}
		}
	})
}
