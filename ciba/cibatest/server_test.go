package cibatest

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	testIssuer = "http://op.example/op"
	testUUID   = "8a9856e0-f12d-4217-b320-c8a076be9320"
	testHint   = `{"idp":"mitid","uuid":"` + testUUID + `","referenceTextBody":"Betal 100 kr. 😉","ip":"1.1.1.1"}`
)

func newServer(t *testing.T, cfg Config) *Server {
	t.Helper()
	if cfg.Issuer == "" {
		cfg.Issuer = testIssuer
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// reply is an answer, read.
type reply struct {
	status int
	header http.Header
	body   []byte
	json   map[string]any // nil when the body is none
}

func (r reply) code() string {
	code, _ := r.json["error"].(string)
	return code
}

func send(t *testing.T, s *Server, req *http.Request) (reply, error) {
	t.Helper()
	resp, err := s.Transport().RoundTrip(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	r := reply{status: resp.StatusCode, header: resp.Header, body: body}
	_ = json.Unmarshal(body, &r.json)
	return r, nil
}

func newRequest(t *testing.T, method, url, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func do(t *testing.T, s *Server, req *http.Request) reply {
	t.Helper()
	r, err := send(t, s, req)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func get(t *testing.T, s *Server, url string) reply {
	t.Helper()
	return do(t, s, newRequest(t, http.MethodGet, url, ""))
}

func formRequest(t *testing.T, path string, form url.Values) *http.Request {
	t.Helper()
	req := newRequest(t, http.MethodPost, testIssuer+path, form.Encode())
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req
}

func startForm() url.Values {
	return url.Values{
		"grant_type":       {grantType},
		"scope":            {"openid"},
		"client_id":        {DemoClientID},
		"client_secret":    {DemoClientSecret},
		"login_hint_token": {testHint},
	}
}

func pollForm(id string) url.Values {
	return url.Values{
		"grant_type":    {grantType},
		"scope":         {"openid"},
		"client_id":     {DemoClientID},
		"client_secret": {DemoClientSecret},
		"auth_req_id":   {id},
	}
}

func post(t *testing.T, s *Server, path string, form url.Values) reply {
	t.Helper()
	return do(t, s, formRequest(t, path, form))
}

// with changes a form; a nil value deletes.
func with(form url.Values, name string, values ...string) url.Values {
	if values == nil {
		form.Del(name)
	} else {
		form[name] = values
	}
	return form
}

func start(t *testing.T, s *Server) string {
	t.Helper()
	return startWith(t, s, startForm())
}

func startWith(t *testing.T, s *Server, form url.Values) string {
	t.Helper()
	r := post(t, s, "/connect/ciba", form)
	id, _ := r.json["auth_req_id"].(string)
	if r.status != http.StatusOK || id == "" {
		t.Fatalf("start: status %d, body %s", r.status, r.body)
	}
	return id
}

func poll(t *testing.T, s *Server, id string) reply {
	t.Helper()
	return post(t, s, "/connect/token", pollForm(id))
}

// wantPoll polls and compares the error; "" wants tokens.
func wantPoll(t *testing.T, s *Server, id, code string) reply {
	t.Helper()
	r := poll(t, s, id)
	status := http.StatusBadRequest
	if code == "" {
		status = http.StatusOK
	}
	if r.status != status || r.code() != code {
		t.Fatalf("poll: status %d, error %q, want %d, %q", r.status, r.code(), status, code)
	}
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestNew_refusesBadConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no issuer":             {},
		"relative issuer":       {Issuer: "/op"},
		"other scheme":          {Issuer: "ftp://op.example"},
		"no host":               {Issuer: "http:///op"},
		"slash at the end":      {Issuer: "http://op.example/op/"},
		"query":                 {Issuer: "http://op.example/op?a=b"},
		"empty query":           {Issuer: "http://op.example/op?"},
		"fragment":              {Issuer: "http://op.example/op#a"},
		"user":                  {Issuer: "http://a@op.example/op"},
		"dot segment":           {Issuer: "http://op.example/op/.."},
		"pattern in path":       {Issuer: "http://op.example/{op}"},
		"control character":     {Issuer: "http://op.example/\x00"},
		"id without secret":     {Issuer: testIssuer, ClientID: "a"},
		"secret without id":     {Issuer: testIssuer, ClientSecret: "a"},
		"unknown method":        {Issuer: testIssuer, AuthMethods: []string{"private_key_jwt"}},
		"half a second":         {Issuer: testIssuer, Interval: 500 * time.Millisecond},
		"negative lifetime":     {Issuer: testIssuer, ExpiresIn: -time.Second},
		"known user not a UUID": {Issuer: testIssuer, KnownUUIDs: []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := New(cfg); err == nil || s != nil {
				t.Errorf("New = %v, %v", s, err)
			}
		})
	}
}

func TestDiscovery_hasTheRecordedMembersWithOurIssuer(t *testing.T) {
	s := newServer(t, Config{AuthMethods: []string{"client_secret_post"}})
	r := get(t, s, testIssuer+"/.well-known/openid-configuration")
	if r.status != http.StatusOK || r.header.Get("Content-Type") != "application/json" {
		t.Fatalf("status %d, type %q", r.status, r.header.Get("Content-Type"))
	}

	recorded, err := os.ReadFile("../testdata/discovery.json")
	must(t, err)
	var want map[string]any
	must(t, json.Unmarshal(bytes.ReplaceAll(recorded, []byte(recordedIssuer), []byte(testIssuer)), &want))
	for _, endpoint := range []string{"token", "revocation", "introspection"} {
		want[endpoint+"_endpoint_auth_methods_supported"] = []any{"client_secret_post"}
	}
	if diff := cmp.Diff(want, r.json); diff != "" {
		t.Errorf("discovery (-want +got):\n%s", diff)
	}
}

func TestDiscovery_worksAtTheRootOfAHost(t *testing.T) {
	s := newServer(t, Config{Issuer: "http://op.example"})
	r := get(t, s, "http://op.example/.well-known/openid-configuration")
	if got := r.json["token_endpoint"]; got != "http://op.example/connect/token" {
		t.Errorf("token_endpoint = %v", got)
	}
}

func TestJWKS_hasTheRecordedShape(t *testing.T) {
	s := newServer(t, Config{})
	r := get(t, s, testIssuer+"/.well-known/openid-configuration/jwks")
	keys, _ := r.json["keys"].([]any)
	var uses []string
	kids := make(map[string]bool)
	for _, k := range keys {
		k := k.(map[string]any)
		uses = append(uses, k["use"].(string))
		kid := k["kid"].(string)
		kids[kid] = true
		if len(kid) != 40 || strings.Trim(kid, "0123456789ABCDEF") != "" {
			t.Errorf("kid %q is not upper-case hex of SHA-1", kid)
		}
		// No alg, as in the recording: clients must not need one.
		want := []string{"e", "kid", "kty", "n", "use", "x5t"}
		if got := slices.Sorted(maps.Keys(k)); !slices.Equal(got, want) {
			t.Errorf("members %v, want %v", got, want)
		}
	}
	if want := []string{"sig", "sig", "enc"}; !slices.Equal(uses, want) {
		t.Errorf("uses %v, want %v", uses, want)
	}
	if len(kids) != 3 {
		t.Errorf("%d different kids, want 3", len(kids))
	}
}

func TestEndpoints_refuseOtherMethods(t *testing.T) {
	s := newServer(t, Config{})
	for _, tt := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"POST", "/.well-known/openid-configuration", 405, ""},
		{"POST", "/.well-known/openid-configuration/jwks", 405, ""},
		{"GET", "/connect/ciba", 400, "invalid_request"},
		{"PUT", "/connect/ciba", 400, "invalid_request"},
		{"GET", "/connect/token", 400, "invalid_request"},
		{"GET", "/api/v1/ciba/x", 405, ""},
		{"GET", "/connect/authorize", 404, ""},
	} {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			r := do(t, s, newRequest(t, tt.method, testIssuer+tt.path, ""))
			if r.status != tt.status || r.code() != tt.code {
				t.Errorf("status %d, error %q", r.status, r.code())
			}
		})
	}
}

func TestForms_areEnforced(t *testing.T) {
	s := newServer(t, Config{})
	for _, path := range []string{"/connect/ciba", "/connect/token"} {
		for name, change := range map[string]func(*http.Request){
			"another method":  func(r *http.Request) { r.Method = http.MethodPut },
			"JSON":            func(r *http.Request) { r.Header.Set("Content-Type", "application/json") },
			"no content type": func(r *http.Request) { r.Header.Del("Content-Type") },
			"parameters in the query": func(r *http.Request) {
				r.URL.RawQuery = startForm().Encode()
				r.Body = http.NoBody
			},
			"broken encoding": func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("a=%zz")) },
			"parameter twice": func(r *http.Request) {
				body := startForm().Encode() + "&scope=openid"
				r.Body = io.NopCloser(strings.NewReader(body))
			},
			"too large": func(r *http.Request) {
				body := startForm().Encode() + "&a=" + strings.Repeat("a", maxForm)
				r.Body = io.NopCloser(strings.NewReader(body))
			},
		} {
			t.Run(path+" "+name, func(t *testing.T) {
				req := formRequest(t, path, with(startForm(), "auth_req_id", "x"))
				change(req)
				r := do(t, s, req)
				// Without a body the client is what is missing first.
				if r.status != 400 || r.code() != "invalid_request" && !strings.HasPrefix(name, "parameters") ||
					strings.HasPrefix(name, "parameters") && r.code() != "invalid_client" {
					t.Errorf("status %d, error %q", r.status, r.code())
				}
			})
		}
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

func TestErrors_areBareAndNeverCached(t *testing.T) {
	s := newServer(t, Config{})
	for _, path := range []string{"/connect/ciba", "/connect/token"} {
		r := post(t, s, path, with(startForm(), "client_secret", "wrong"))
		if got := string(r.body); got != `{"error":"invalid_client"}` || r.status != 400 {
			t.Errorf("%s: status %d, body %s", path, r.status, got)
		}
		if got := r.header.Get("Cache-Control"); !strings.Contains(got, "no-store") {
			t.Errorf("%s: Cache-Control %q", path, got)
		}
	}
}

func TestClientAuthentication(t *testing.T) {
	const id, secret = "client:1", "a+b c%:ü=="
	both := []string{secretBasic, secretPost}
	basic := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	header := func(v string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", v) }
	}
	escape := url.QueryEscape
	for _, tt := range []struct {
		name    string
		methods []string
		form    url.Values
		header  func(*http.Request)
		want    string // "" is good
	}{
		{"post", both, url.Values{"client_id": {id}, "client_secret": {secret}}, nil, ""},
		{"basic", both, nil, basic(escape(id), escape(secret)), ""},
		{"basic, id in the form too", both, url.Values{"client_id": {id}}, basic(escape(id), escape(secret)), ""},
		{"basic, another id in the form", both, url.Values{"client_id": {"x"}}, basic(escape(id), escape(secret)), "invalid_client"},
		// RFC 6749 §2.3.1: "+" and "%" mean something.
		{"basic without form encoding", both, nil, basic(id, secret), "invalid_client"},
		{"basic with a broken id", both, nil, basic("%zz", escape(secret)), "invalid_client"},
		{"basic, not Base64", both, nil, header("Basic !"), "invalid_client"},
		{"another scheme", both, nil, header("Bearer x"), "invalid_client"},
		{"both at once", both, url.Values{"client_id": {id}, "client_secret": {secret}}, basic(escape(id), escape(secret)), "invalid_request"},
		{"assertion and secret", both, url.Values{"client_id": {id}, "client_secret": {secret}, "client_assertion": {"x"}}, nil, "invalid_request"},
		{"assertion", both, url.Values{"client_id": {id}, "client_assertion": {"x"}}, nil, "invalid_client"},
		{"none", both, nil, nil, "invalid_client"},
		{"id only", both, url.Values{"client_id": {id}}, nil, "invalid_client"},
		{"wrong id", both, url.Values{"client_id": {"x"}, "client_secret": {secret}}, nil, "invalid_client"},
		{"wrong secret", both, url.Values{"client_id": {id}, "client_secret": {"x"}}, nil, "invalid_client"},
		{"post where only basic is listed", []string{secretBasic}, url.Values{"client_id": {id}, "client_secret": {secret}}, nil, "invalid_client"},
		{"basic where only post is listed", []string{secretPost}, nil, basic(escape(id), escape(secret)), "invalid_client"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, Config{ClientID: id, ClientSecret: secret, AuthMethods: tt.methods})
			for path, good := range map[string]string{"/connect/ciba": "", "/connect/token": "invalid_grant"} {
				form := with(with(startForm(), "client_id"), "client_secret")
				form.Set("auth_req_id", "x")
				maps.Copy(form, tt.form)
				req := formRequest(t, path, form)
				if tt.header != nil {
					tt.header(req)
				}
				want := tt.want
				if want == "" {
					want = good
				}
				if r := do(t, s, req); r.code() != want {
					t.Errorf("%s: error %q, want %q", path, r.code(), want)
				}
			}
		})
	}
}

// kinds maps every member to the JSON type of its value.
func kinds(object map[string]any) map[string]string {
	m := make(map[string]string, len(object))
	for name, value := range object {
		m[name] = reflect.TypeOf(value).String()
	}
	return m
}
