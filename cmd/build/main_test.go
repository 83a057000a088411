package main

import (
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/xcaddy"
)

// A machine without network must build from its module cache, and the settings
// that a company has for its own modules must stay.
func TestEnvironment_seeksReplacedModulesNowhere(t *testing.T) {
	local := []xcaddy.Replace{xcaddy.NewReplace("example.com/m", "/src/m")}
	for _, tc := range []struct {
		name             string
		goprivate, govcs string
		replacements     []xcaddy.Replace
		want             []string
	}{
		{"nothing set", "", "", local, []string{"GONOPROXY=example.com/m", "GOVCS=example.com/m:off"}},
		{
			"settings of a company", "corp.example", "corp.example:git", local,
			[]string{"GONOPROXY=corp.example,example.com/m", "GOVCS=example.com/m:off,corp.example:git"},
		},
		{
			"replaced by another module", "", "",
			[]xcaddy.Replace{xcaddy.NewReplace("example.com/m", "example.org/fork@v1.0.0")},
			[]string{"GONOPROXY=", "GOVCS="},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("GOENV", "off")
			t.Setenv("GONOPROXY", "")
			t.Setenv("GOPRIVATE", tc.goprivate)
			t.Setenv("GOVCS", tc.govcs)
			t.Setenv("GOFLAGS", "-buildvcs=false")

			env, err := environment(t.Context(), tc.replacements)
			if err != nil {
				t.Fatal(err)
			}
			if got := env[len(env)-2:]; !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if !slices.Contains(env, "GOFLAGS=-buildvcs=false") {
				t.Error("GOFLAGS is lost")
			}
		})
	}
}

// The folder cmd/caddy has the name that the program would get.
func TestRun_refusesToWriteIntoAFolder(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	config := write(t, `{}`)
	if err := os.Mkdir(defaultOutput(xcaddy.Builder{}), 0o700); err != nil {
		t.Fatal(err)
	}
	err := run(t.Context(), config, "", io.Discard)
	if err == nil || !strings.Contains(err.Error(), "is a folder") {
		t.Errorf("got error %v, want one about the folder", err)
	}
}

func TestDefaultOutput(t *testing.T) {
	t.Setenv("GOOS", "windows")
	if got := defaultOutput(xcaddy.Builder{}); got != "caddy.exe" {
		t.Errorf("for Windows: %s", got)
	}
	linux := xcaddy.Builder{Compile: xcaddy.Compile{Platform: xcaddy.Platform{OS: "linux"}}}
	if got := defaultOutput(linux); got != "caddy" {
		t.Errorf("for the OS that the file names: %s", got)
	}
}

func TestReport_saysWhatTheProgramRecords(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	plugins := []xcaddy.Dependency{{PackagePath: "github.com/caddyserver/xcaddy/cmd"}}
	if err := report(&out, self, plugins); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "\tgithub.com/caddyserver/xcaddy v") {
		t.Errorf("the plugin's module is missing:\n%s", out.String())
	}
	if strings.Contains(out.String(), "Masterminds/semver") {
		t.Errorf("a module without plugins is listed:\n%s", out.String())
	}
}
