package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// asCommand makes the test binary the command itself: the processes that these
// tests start run main, with the race detector when the tests have it.
const asCommand = "STEPUP_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

// command returns the command with arguments, ready to be started. What Caddy
// stores goes to a directory of its own, and nothing of this environment's
// configuration comes in.
func command(t testing.TB, env []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "STEP_UP_") || strings.HasPrefix(v, "CADDY_")
	})
	cmd.Env = append(cmd.Env, asCommand+"=1", "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home)
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// run runs the command to its end.
func run(t testing.TB, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := command(t, env, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

var (
	exampleFile = filepath.Join("..", "..", "Caddyfile.example")
	exampleEnv  = []string{
		"STEP_UP_CLIENT_ID=" + cibatest.DemoClientID,
		"STEP_UP_CLIENT_SECRET=" + cibatest.DemoClientSecret,
	}
)

func TestCommand_listsModules(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := run(t, nil, "list-modules")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	modules := strings.Fields(stdout)
	for _, want := range []string{
		"step_up", "http.handlers.step_up", "step_up.directories.file", "step_up.stores.memory", "step_up.stores.redis",
		"http.handlers.reverse_proxy",
	} {
		if !slices.Contains(modules, want) {
			t.Errorf("there is no module %s", want)
		}
	}
}

func TestCommand_acceptsExample(t *testing.T) {
	t.Parallel()
	if stdout, stderr, code := run(t, exampleEnv, "fmt", "--diff", exampleFile); code != 0 {
		t.Errorf("the example is not formatted: %s%s", stdout, stderr)
	}
	if _, stderr, code := run(t, exampleEnv, "validate", "--adapter", "caddyfile", "--config", exampleFile); code != 0 {
		t.Errorf("the example is not valid: %s", stderr)
	}
	stdout, stderr, code := run(t, exampleEnv, "adapt", "--adapter", "caddyfile", "--config", exampleFile)
	if code != 0 {
		t.Fatalf("the example does not adapt: %s", stderr)
	}
	if strings.Contains(stderr, "WARN") || strings.Contains(stderr, `"level":"warn"`) {
		t.Errorf("adapting the example warns: %s", stderr)
	}
	for _, want := range []string{`"step_up":{`, `"handler":"step_up"`, `"issuer":"https://pp.netseidbroker.dk/op"`, "{env.STEP_UP_CLIENT_SECRET}"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the adapted example has no %s", want)
		}
	}
	if strings.Contains(stdout, cibatest.DemoClientSecret) {
		t.Error("the adapted example shows the client secret")
	}
}

func TestCommand_namesMissingVariable(t *testing.T) {
	t.Parallel()
	for i, missing := range []string{"STEP_UP_CLIENT_ID", "STEP_UP_CLIENT_SECRET"} {
		env := slices.Delete(slices.Clone(exampleEnv), i, i+1)
		_, stderr, code := run(t, env, "validate", "--adapter", "caddyfile", "--config", exampleFile)
		if code == 0 || !strings.Contains(stderr, "{env."+missing+"}") && !strings.Contains(stderr, "env."+missing) {
			t.Errorf("without %s: exit code %d: %s", missing, code, stderr)
		}
		if strings.Contains(stderr, cibatest.DemoClientSecret) {
			t.Error("the error shows the client secret")
		}
	}
}

func TestCommand_refusesMistakesWithFileAndLine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		source string
		want   []string
	}{
		"a misspelt option of the app": {
			"{\n\tstep_up {\n\t\tisuer https://op.example\n\t}\n}\n",
			[]string{"Caddyfile:3", "isuer"},
		},
		"a misspelt option of a route": {
			":80 {\n\tstep_up /a {\n\t\trember 5m\n\t}\n}\n",
			[]string{"Caddyfile:3", "rember"},
		},
		"a misspelt value": {
			":80 {\n\tstep_up {\n\t\tuser {x}\n\t\taction aprove\n\t}\n}\n",
			[]string{"Caddyfile:4", "aprove", "approve"},
		},
		"a misspelt endpoint": {
			"{\n\tstep_up {\n\t\tendpoints {\n\t\t\ttokens https://op.example/token\n\t\t}\n\t}\n}\n",
			[]string{"Caddyfile:4", "tokens"},
		},
		"an unknown store": {
			"{\n\tstep_up {\n\t\tstore rediss redis://x\n\t}\n}\n",
			[]string{"Caddyfile:3", "rediss"},
		},
		"an option twice": {
			":80 {\n\tstep_up {\n\t\thold 5s\n\t\thold 5s\n\t}\n}\n",
			[]string{"Caddyfile:4", "hold"},
		},
		"an argument too many": {
			":80 {\n\tstep_up {\n\t\thold 5s 6s\n\t}\n}\n",
			[]string{"Caddyfile:3"},
		},
		"a bad duration": {
			":80 {\n\tstep_up {\n\t\tremember soon\n\t}\n}\n",
			[]string{"Caddyfile:3", "remember"},
		},
	} {
		file := filepath.Join(t.TempDir(), "Caddyfile")
		if err := os.WriteFile(file, []byte(c.source), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, subcommand := range []string{"adapt", "validate"} {
			_, stderr, code := run(t, nil, subcommand, "--config", file)
			if code == 0 {
				t.Errorf("%s: %s accepts it", name, subcommand)
			}
			for _, want := range c.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("%s: %s does not name %s: %s", name, subcommand, want, stderr)
				}
			}
		}
	}
}

// TestCommand_refusesBadDirectory has a bad line in the file of users. The
// error says where, and not who.
func TestCommand_refusesBadDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	users := filepath.Join(dir, "users.csv")
	if err := os.WriteFile(users, []byte("user,uuid\nalice,not-a-uuid\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "Caddyfile")
	config := "{\n\tstep_up {\n\t\tissuer https://op.example\n\t\tclient_id a\n\t\tclient_secret b\n\t\tdirectory file " + users + "\n\t}\n}\n:80 {\n\tstep_up\n}\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr, code := run(t, nil, "validate", "--config", file)
	if code == 0 || !strings.Contains(stderr, "users.csv:2") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if strings.Contains(stderr, "alice") || strings.Contains(stderr, "not-a-uuid") {
		t.Errorf("the error shows what the line says: %s", stderr)
	}
}
