// Command build makes the Caddy that xcaddy.json describes, with xcaddy's own
// library: the same steps as the xcaddy program, without installing it.
//
//	go run ./cmd/build [-config xcaddy.json] [-o caddy]
//
// Without -o the program is written to caddy (caddy.exe for Windows) in the
// current folder. GOFLAGS, GOPROXY and the go command's other settings apply
// as always; with all modules in the module cache no network is needed.
package main

import (
	"cmp"
	"context"
	"debug/buildinfo"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/caddyserver/xcaddy"
)

func main() {
	config := flag.String("config", "xcaddy.json", "xcaddy builder `file` to build from")
	output := flag.String("o", "", "`program` to write (default caddy, or caddy.exe for Windows)")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "build: unexpected argument %q: name the program with -o\n", flag.Arg(0))
		os.Exit(2)
	}

	// An interrupt ends the go command that runs, and xcaddy then removes its
	// temporary folder.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *config, *output, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

// run makes output from the builder file config and tells w what is in it.
func run(ctx context.Context, config, output string, w io.Writer) error {
	b, err := load(config)
	if err != nil {
		return err
	}
	if output == "" {
		output = defaultOutput(b)
	}
	// The go command would put the program inside the folder, under a name
	// that nobody chose.
	if fi, err := os.Stat(output); err == nil && fi.IsDir() {
		return fmt.Errorf("%s is a folder: name the program to write with -o", output)
	}
	if b.Env, err = environment(ctx, b.Replacements); err != nil {
		return err
	}
	if err := b.Build(ctx, output); err != nil {
		return fmt.Errorf("building %s: %w", output, err)
	}
	return report(w, output, b.Plugins)
}

// defaultOutput is the name of the program when -o is absent.
func defaultOutput(b xcaddy.Builder) string {
	if cmp.Or(b.OS, os.Getenv("GOOS"), runtime.GOOS) == "windows" {
		return "caddy.exe"
	}
	return "caddy"
}

// environment is the one that xcaddy's go commands run in: this process's
// own, except that a module replaced by a folder is sought nowhere else.
//
// For every plugin package the go command first asks whether a module of just
// that path exists, even when a replacement has the package. A proxy or a host
// that cannot be reached ends the build there. GONOPROXY takes the question
// from the proxy, and GOVCS answers it without asking the host.
func environment(ctx context.Context, replacements []xcaddy.Replace) ([]string, error) {
	// The go command knows what `go env -w` and GOPRIVATE say, too.
	cmd := exec.CommandContext(ctx, "go", "env", "GONOPROXY", "GOVCS")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("reading the go command's settings: %w", err)
	}
	noProxy, vcs, _ := strings.Cut(strings.TrimSuffix(string(out), "\n"), "\n")

	for _, r := range replacements {
		if filepath.IsAbs(r.New.String()) {
			noProxy = join(noProxy, r.Old.String())
			vcs = join(r.Old.String()+":off", vcs) // the first match counts
		}
	}
	return append(os.Environ(), "GONOPROXY="+noProxy, "GOVCS="+vcs), nil
}

// join joins two lists of patterns, each of which may be empty.
func join(a, b string) string {
	return strings.Trim(a+","+b, ",")
}

// report writes what the program at path holds, as the go command recorded it
// there: Caddy and the modules that plugins come from.
func report(w io.Writer, path string, plugins []xcaddy.Dependency) error {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading what was built: %w", err)
	}
	fmt.Fprintf(w, "built %s with %s:\n", path, info.GoVersion)
	for _, m := range info.Deps {
		if !holdsAny(m.Path, plugins) && !strings.HasPrefix(m.Path, "github.com/caddyserver/caddy/") {
			continue
		}
		if m.Replace != nil {
			fmt.Fprintf(w, "\t%s => %s\n", m.Path, m.Replace.Path)
			continue
		}
		fmt.Fprintf(w, "\t%s %s\n", m.Path, m.Version)
	}
	return nil
}

// holdsAny reports whether a plugin's package lies in module.
func holdsAny(module string, plugins []xcaddy.Dependency) bool {
	for _, p := range plugins {
		if p.PackagePath == module || strings.HasPrefix(p.PackagePath, module+"/") {
			return true
		}
	}
	return false
}
