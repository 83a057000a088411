package ciba_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/caddy-stepup/stepup"

// houseRules say what each package of this module may import, besides the
// standard library: packages of this module by their folder, modules of others
// by their path. Imports point one way: cmd, caddymodule, approval, ciba.
var houseRules = map[string][]string{
	"ciba":                     {"github.com/golang-jwt/jwt/v5", "github.com/go-jose/go-jose/v4"},
	"ciba/cibatest":            {"github.com/golang-jwt/jwt/v5"},
	"ciba/approval":            {"ciba", "golang.org/x/crypto", "golang.org/x/sync"},
	"ciba/approval/memstore":   {"ciba/approval"},
	"ciba/approval/redisstore": {"ciba/approval", "github.com/redis/go-redis/v9"},
	"ciba/approval/redisstore/redistest": {
		"internal/freeport", "github.com/redis/go-redis/v9",
	},
	"ciba/approval/storetest": {"ciba/approval", "github.com/google/go-cmp", "go.uber.org/goleak", "pgregory.net/rapid"},
	"caddymodule": {
		"ciba", "ciba/approval", "ciba/approval/memstore", "ciba/approval/redisstore",
		"caddymodule/page", "caddymodule/text",
		"github.com/caddyserver/caddy/v2", "go.uber.org/zap", "golang.org/x/text", "github.com/dustin/go-humanize",
	},
	"caddymodule/page": {"golang.org/x/text"},
	"caddymodule/text": {"golang.org/x/text"},
	"cmd/bench": {
		"caddymodule", "ciba/cibatest", "internal/freeport",
		"github.com/caddyserver/caddy/v2", "github.com/redis/go-redis/v9", "golang.org/x/sync",
	},
	"cmd/build": {"github.com/caddyserver/xcaddy"},
	"cmd/caddy": {"caddymodule", "github.com/caddyserver/caddy/v2"},
	"cmd/demo":  {"caddymodule", "ciba/cibatest", "github.com/caddyserver/caddy/v2"},

	"internal/freeport": {},
}

// notInDomain are packages of the standard library that the domain does
// without: it knows neither HTTP nor the test runner.
var notInDomain = []string{"net/http", "testing"}

func TestImports_pointOneWay(t *testing.T) {
	seen := make(map[string]bool)
	err := filepath.WalkDir("..", func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && file != ".." && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		folder := filepath.ToSlash(strings.TrimPrefix(filepath.Dir(file), ".."+string(filepath.Separator)))
		rules, ok := houseRules[folder]
		if !ok {
			t.Errorf("%s: a package that no rule knows; give it one here", folder)
			return nil
		}
		seen[folder] = true
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range parsed.Imports {
			imported, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			if !mayImport(folder, rules, imported) {
				t.Errorf("%s imports %s", file, imported)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for folder := range houseRules {
		if !seen[folder] {
			t.Errorf("%s: a rule for a package that is not there", folder)
		}
	}
}

func mayImport(folder string, rules []string, imported string) bool {
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return folder != "ciba/approval" || !slices.Contains(notInDomain, imported)
	}
	if own, ok := strings.CutPrefix(imported, module+"/"); ok {
		return slices.Contains(rules, own)
	}
	return slices.ContainsFunc(rules, func(rule string) bool {
		return imported == rule || strings.HasPrefix(imported, path.Clean(rule)+"/")
	})
}

// The rules themselves refuse what they are there to refuse.
func TestImports_rulesBite(t *testing.T) {
	for _, c := range []struct{ folder, imported string }{
		{"ciba", module + "/ciba/approval"},
		{"ciba", "github.com/caddyserver/caddy/v2"},
		{"ciba", "go.uber.org/zap"},
		{"ciba/approval", module + "/caddymodule"},
		{"ciba/approval", module + "/ciba/approval/memstore"},
		{"ciba/approval", "github.com/redis/go-redis/v9"},
		{"ciba/approval", "net/http"},
		{"ciba/approval/memstore", "github.com/redis/go-redis/v9"},
		{"caddymodule", module + "/ciba/cibatest"},
		{"caddymodule", module + "/cmd/demo"},
		{"caddymodule/page", "github.com/caddyserver/caddy/v2"},
		{"caddymodule/text", module + "/caddymodule"},
	} {
		if mayImport(c.folder, houseRules[c.folder], c.imported) {
			t.Errorf("%s may import %s", c.folder, c.imported)
		}
	}
}
