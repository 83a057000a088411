package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode/gzip"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy/forwardauth"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
	"github.com/google/go-cmp/cmp"
)

// adaptCaddyfile turns a Caddyfile into indented JSON, as `caddy adapt` does.
func adaptCaddyfile(input string) (string, error) {
	result, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), nil)
	if err != nil {
		return "", err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, result, "", "\t"); err != nil {
		return "", err
	}
	return indented.String(), nil
}

// TestCaddyfile_adapts compares each Caddyfile in testdata with what stands
// under its line of dashes: the JSON it means, or the error it is refused with.
// An error names file and line.
func TestCaddyfile_adapts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("there are no golden files")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, ok := strings.Cut(string(content), "\n----------\n")
			if !ok {
				t.Fatal("want a line of ten dashes")
			}
			want = strings.TrimSpace(want)
			got, err := adaptCaddyfile(input + "\n")
			if wantErr, refused := strings.CutPrefix(want, "error: "); refused {
				if err == nil {
					t.Fatalf("adapted to:\n%s\nwant error: %s", got, wantErr)
				}
				if !strings.Contains(err.Error(), wantErr) {
					t.Fatalf("got error:  %v\nwant error: %s", err, wantErr)
				}
				if !regexp.MustCompile(`Caddyfile:[1-9]`).MatchString(wantErr) {
					t.Fatalf("error does not say where: %s", wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("JSON differs (-want +got):\n%s", diff)
			}
		})
	}
}

// policiesOf returns the policies of an adapted Caddyfile's routes, in their
// order.
func policiesOf(t *testing.T, input string) []string {
	t.Helper()
	adapted, err := adaptCaddyfile(input)
	if err != nil {
		t.Fatal(err)
	}
	var policies []string
	for _, found := range regexp.MustCompile(`"policy": "([^"]+)"`).FindAllStringSubmatch(adapted, -1) {
		policies = append(policies, found[1])
	}
	return policies
}

func TestCaddyfile_namesPolicies(t *testing.T) {
	const (
		gate = "step_up /transfers/* {\n\tuuid {vars.uuid}\n\tremember 5m\n}\n"
		rest = "respond ok\n"
	)
	site := func(body string) string { return "http://bank.example {\n" + body + rest + "}\n" }
	before := policiesOf(t, site("handle {\n"+gate+gate+"}\n"))
	if len(before) != 2 || before[0] == before[1] {
		t.Fatalf("two alike routes got the policies %q, want two different ones", before)
	}
	for _, tt := range []struct {
		name, body string
		want       []string
	}{
		{
			"an unrelated route in front leaves the names",
			"handle {\nstep_up /unrelated/and/longer {\n\tuuid {vars.uuid}\n\tpolicy other\n}\n" + gate + gate + "}\n",
			[]string{"other", before[0], before[1]},
		},
		{
			"an unrelated route with a name made for it leaves the names",
			"handle {\nstep_up /transfers/*/more {\n\tuuid {vars.uuid}\n\tremember 5m\n}\n" + gate + gate + "}\n",
			nil,
		},
		{
			"an unrelated directive leaves the names",
			"handle {\nheader X-Test 1\n" + gate + gate + "}\n",
			before,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := policiesOf(t, site(tt.body))
			if tt.want == nil {
				if len(got) != 3 || got[0] == before[0] || got[0] == before[1] {
					t.Fatalf("policies are %q, want another one in front of %q", got, before)
				}
				got, tt.want = got[1:], before
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("policies differ (-want +got):\n%s", diff)
			}
		})
	}
}

// A remembered approval is good for a policy: routes that ask for different
// things must not share a name by accident.
func TestCaddyfile_differentRoutesHaveDifferentPolicies(t *testing.T) {
	seen := make(map[string]string)
	for _, gate := range []string{
		"step_up",
		"step_up /a",
		"step_up /b",
		"step_up /a {\nremember 5m\n}",
		"step_up /a {\nremember 6m\n}",
		"step_up /a {\nuser {vars.user}\n}",
		"step_up /a {\nuuid {vars.uuid}\n}",
		"step_up /a {\ntext x\n}",
		"step_up /a {\naction sign\n}",
		"step_up /a {\nrequire loa low\n}",
	} {
		policies := policiesOf(t, "http://bank.example {\n"+gate+"\nrespond ok\n}\n")
		if len(policies) != 1 {
			t.Fatalf("%q has the policies %q, want one", gate, policies)
		}
		if other, ok := seen[policies[0]]; ok {
			t.Errorf("%q has the policy of %q", gate, other)
		}
		seen[policies[0]] = gate
	}
}

// What was remembered is not lost with a setting that nobody approved.
func TestCaddyfile_policyStaysWhereTheRulesDo(t *testing.T) {
	const site = "http://bank.example {\nstep_up /a {\nremember 5m\n%s\n}\nrespond ok\n}\n"
	want := policiesOf(t, fmt.Sprintf(site, ""))
	for _, option := range []string{
		"respond page", "hold 1s", "max_body 1KB", "headers", "supersede", "trusted_origins https://portal.example",
	} {
		if diff := cmp.Diff(want, policiesOf(t, fmt.Sprintf(site, option))); diff != "" {
			t.Errorf("%s: policies differ (-want +got):\n%s", option, diff)
		}
	}
}
