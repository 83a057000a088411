package main

import (
	"go/build"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/xcaddy"
	"github.com/google/go-cmp/cmp"
)

func TestLoad_refusesWhatXcaddyWouldIgnore(t *testing.T) {
	for _, tc := range []struct{ name, file, want string }{
		{"a member of another shape", `{"dependencies": [{"module": "example.com/m"}]}`, `unknown field "dependencies"`},
		{"a misspelt member", `{"plugin": []}`, `unknown field "plugin"`},
		{"a misspelt member of a plugin", `{"plugins": [{"module": "example.com/m"}]}`, `unknown field "module"`},
		{"a second object", `{} {}`, "data after the builder object"},
		{"text after the object", `{} x`, "data after the builder object"},
		{"a wrong type", `{"caddy_version": 2}`, "cannot unmarshal number"},
		{"no object", ``, "EOF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := load(write(t, tc.file))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestLoad_findsFoldersFromTheFile(t *testing.T) {
	path := write(t, `{"replacements": [
		{"old": "example.com/here", "new": "."},
		{"old": "example.com/below", "new": "./below"},
		{"old": "example.com/above", "new": ".."},
		{"old": "example.com/beside", "new": "../beside"},
		{"old": "example.com/absolute", "new": "/absolute"},
		{"old": "example.com/fork", "new": "example.org/fork@v1.2.3"}
	]}`)
	dir := filepath.Dir(path)
	t.Chdir(filepath.Dir(dir))
	rel, err := filepath.Rel(filepath.Dir(dir), path)
	if err != nil {
		t.Fatal(err)
	}

	b, err := load(rel)
	if err != nil {
		t.Fatal(err)
	}
	want := []xcaddy.Replace{
		xcaddy.NewReplace("example.com/here", dir),
		xcaddy.NewReplace("example.com/below", filepath.Join(dir, "below")),
		xcaddy.NewReplace("example.com/above", filepath.Dir(dir)),
		xcaddy.NewReplace("example.com/beside", filepath.Join(filepath.Dir(dir), "beside")),
		xcaddy.NewReplace("example.com/absolute", "/absolute"),
		xcaddy.NewReplace("example.com/fork", "example.org/fork@v1.2.3"),
	}
	if diff := cmp.Diff(want, b.Replacements); diff != "" {
		t.Errorf("replacements (-want +got):\n%s", diff)
	}
}

// What go.mod says and what xcaddy builds must be the same program.
func TestXcaddyJSON(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	b, err := load(filepath.Join(root, "xcaddy.json"))
	if err != nil {
		t.Fatal(err)
	}
	gomod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	module := find(t, gomod, `(?m)^module (\S+)$`)

	t.Run("caddy_version is the one go.mod requires", func(t *testing.T) {
		if want := find(t, gomod, `(?m)^\s*github\.com/caddyserver/caddy/v2 (\S+)$`); b.CaddyVersion != want {
			t.Errorf("caddy_version is %s, go.mod requires %s", b.CaddyVersion, want)
		}
	})

	t.Run("this module comes from this checkout", func(t *testing.T) {
		want := []xcaddy.Replace{xcaddy.NewReplace(module, root)}
		if diff := cmp.Diff(want, b.Replacements); diff != "" {
			t.Errorf("replacements (-want +got):\n%s", diff)
		}
	})

	t.Run("every plugin is a package of this checkout", func(t *testing.T) {
		if len(b.Plugins) == 0 {
			t.Error("no plugin")
		}
		for _, p := range b.Plugins {
			rel, ok := strings.CutPrefix(p.PackagePath, module+"/")
			if !ok || p.Version != "" {
				t.Errorf("plugin %s is not a package of %s without a version", p, module)
				continue
			}
			if _, err := build.ImportDir(filepath.Join(root, filepath.FromSlash(rel)), 0); err != nil {
				t.Errorf("plugin %s: %v", p, err)
			}
		}
	})

	t.Run("is a plain build", func(t *testing.T) {
		b.CaddyVersion, b.Plugins, b.Replacements = "", nil, nil
		want := xcaddy.Builder{BuildFlags: "-tags=nobadger,nomysql,nopgx -trimpath"}
		if diff := cmp.Diff(want, b); diff != "" {
			t.Errorf("everything else (-want +got):\n%s", diff)
		}
	})
}

// write puts content into a file of its own folder and returns its path.
func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "xcaddy.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// find returns what the group in pattern matches, once, in text.
func find(t *testing.T, text []byte, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindAllSubmatch(text, -1)
	if len(m) != 1 {
		t.Fatalf("go.mod has %d lines like %s, want 1", len(m), pattern)
	}
	return string(m[0][1])
}
