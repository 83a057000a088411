package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddyserver/xcaddy"
)

// load reads an xcaddy.Builder from the JSON file at path. Members that
// Builder does not have are refused, so that a typing error cannot leave a
// plugin out, and so is anything after the object.
//
// A replacement whose new path starts with a dot is a folder relative to the
// file, wherever the program is started.
func load(path string) (xcaddy.Builder, error) {
	var b xcaddy.Builder
	f, err := os.Open(path)
	if err != nil {
		return b, err
	}
	defer f.Close()

	dec := json.NewDecoder(f)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b); err != nil {
		return b, fmt.Errorf("parsing %s: %w", path, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return b, fmt.Errorf("parsing %s: data after the builder object", path)
	}

	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return b, err
	}
	for i, r := range b.Replacements {
		if isRelative(r.New.String()) {
			b.Replacements[i].New = xcaddy.ReplacementPath(filepath.Join(dir, r.New.String()))
		}
	}
	return b, nil
}

// isRelative tells folders from module paths as go.mod does: by the dot.
func isRelative(path string) bool {
	path = filepath.ToSlash(path)
	return path == "." || path == ".." || strings.HasPrefix(path, "./") || strings.HasPrefix(path, "../")
}
