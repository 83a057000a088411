package caddymodule

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

const (
	uuidAlice = "0a1b2c3d-1111-4222-8333-444455556666"
	uuidBob   = "ffffffff-1111-4222-8333-444455556666"
)

func TestParseUsers(t *testing.T) {
	for _, tt := range []struct {
		name, content string
		want          map[string]string
	}{
		{"nothing", "", map[string]string{}},
		{"one user", "alice," + uuidAlice + "\n", map[string]string{"alice": uuidAlice}},
		{"no newline at the end", "alice," + uuidAlice, map[string]string{"alice": uuidAlice}},
		{"lines end with CR LF", "alice," + uuidAlice + "\r\nbob," + uuidBob + "\r\n", map[string]string{"alice": uuidAlice, "bob": uuidBob}},
		{"byte order mark", "\xef\xbb\xbfalice," + uuidAlice, map[string]string{"alice": uuidAlice}},
		{"byte order mark and header", "\xef\xbb\xbfuser,uuid\nalice," + uuidAlice, map[string]string{"alice": uuidAlice}},
		{"header in another case", "User,UUID\nalice," + uuidAlice, map[string]string{"alice": uuidAlice}},
		{"header alone", "user,uuid\n", map[string]string{}},
		{"comments and empty lines", "# users\n\nuser,uuid\n#bob," + uuidBob + "\n\nalice," + uuidAlice + "\n", map[string]string{"alice": uuidAlice}},
		{"spaces around", " alice , " + uuidAlice + " ", map[string]string{"alice": uuidAlice}},
		{"quoted name with a comma", `"Hansen, Alice",` + uuidAlice, map[string]string{"hansen, alice": uuidAlice}},
		{"UUID in capitals is the same UUID", "alice," + strings.ToUpper(uuidAlice), map[string]string{"alice": uuidAlice}},
		{"names are kept in their one spelling", "ALICE@Bank.example," + uuidAlice + "\nBj\u00f8rn \uff21," + uuidBob, map[string]string{"alice@bank.example": uuidAlice, "bj\u00f8rn a": uuidBob}},
		{"two names for one UUID", "alice," + uuidAlice + "\nalice@bank," + uuidAlice, map[string]string{"alice": uuidAlice, "alice@bank": uuidAlice}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseUsers("users.csv", []byte(tt.content))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("users differ (-want +got):\n%s", diff)
			}
		})
	}
}

// Whoever reads the log must not learn who uses the bank: an error names the
// line, and nothing that it says.
func TestParseUsers_refusesBadLinesWithoutTheirContent(t *testing.T) {
	good := "alice," + uuidAlice + "\n"
	for _, tt := range []struct {
		name, content, want string
	}{
		{"one field", good + "mallory\n", "users.csv:2: want two fields, a user name and a MitID UUID, not 1"},
		{"three fields", good + "mallory," + uuidBob + ",deadbeef\n", "users.csv:2: want two fields, a user name and a MitID UUID, not 3"},
		{"no user name", good + "," + uuidBob, "users.csv:2: the user name is empty"},
		{"user name of spaces", good + "  ," + uuidBob, "users.csv:2: the user name is empty"},
		{"user name not UTF-8", good + "mallory\xff," + uuidBob, "users.csv:2: user name is not UTF-8"},
		{"no UUID", good + "mallory,", "users.csv:2: the second field is no UUID"},
		{"UUID without dashes", good + "mallory," + strings.ReplaceAll(uuidBob, "-", ""), "users.csv:2: the second field is no UUID"},
		{"UUID too long", good + "mallory," + uuidBob + "0", "users.csv:2: the second field is no UUID"},
		{"UUID with a wrong digit", good + "mallory," + "g" + uuidBob[1:], "users.csv:2: the second field is no UUID"},
		{"UUID with a newline", good + "mallory,\"" + uuidBob + "\nx\"", "users.csv:2: the second field is no UUID"},
		{"user and UUID swapped", good + uuidBob + ",mallory", "users.csv:2: the second field is no UUID"},
		{"header further down", good + "user,uuid\n", "users.csv:2: the second field is no UUID"},
		{"byte order mark further down", good + "\xef\xbb\xbfbob," + uuidBob, "users.csv:2: user name has control characters"},
		{"user twice", good + "bob," + uuidBob + "\nalice," + uuidBob, "users.csv:3: the user name is there already, further up"},
		{"user twice with one UUID", good + good, "users.csv:2: the user name is there already, further up"},
		{"user twice, in another case", good + "Alice," + uuidBob, "users.csv:2: the user name is there already, further up"},
		{"user twice, in wide letters", good + "\uff41lice," + uuidBob, "users.csv:2: the user name is there already, further up"},
		{"invisible character in the user name", good + "al\u200bice," + uuidBob, "users.csv:2: user name has control characters"},
		{"newline in the user name", good + "\"mall\nory\"," + uuidBob, "users.csv:2: user name has control characters"},
		{"quote in the middle", good + "mal\"lory," + uuidBob, `users.csv:2: bare " in non-quoted-field`},
		{"quote not closed", good + "\"mallory," + uuidBob + "\n", `users.csv:2: extraneous or missing " in quoted-field`},
		{"comments count as lines", "# one\n\n# three\nmallory\n", "users.csv:4: want two fields"},
		{"semicolons", "mallory;" + uuidBob, "users.csv:1: want two fields"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			users, err := parseUsers("users.csv", []byte(tt.content))
			if err == nil {
				t.Fatalf("got %d users, want error: %s", len(users), tt.want)
			}
			if !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got error:  %v\nwant error: %s", err, tt.want)
			}
			for _, content := range []string{"alice", "mallory", "mal\"lory", uuidAlice[:8], uuidBob[:8], "deadbeef"} {
				if strings.Contains(err.Error(), content) {
					t.Errorf("error says %q: %v", content, err)
				}
			}
		})
	}
}

// writeUsers writes a file that is seen as another one than before, however
// coarse the clock of the file system is.
func writeUsers(t *testing.T, path, content string, modified time.Time) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, modified, modified); err != nil {
		t.Fatal(err)
	}
}

// newFileDirectory provisions a directory whose log can be looked at.
func newFileDirectory(t *testing.T, path string) (*FileDirectory, *observer.ObservedLogs) {
	t.Helper()
	f := &FileDirectory{Path: path}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	if err := f.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.DebugLevel)
	f.logger = zap.New(core)
	return f, logs
}

func wantUUID(t *testing.T, f *FileDirectory, user, want string) {
	t.Helper()
	got, err := f.UUID(user)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("UUID(%q) = %q, want %q", user, got, want)
	}
}

func countLevel(logs *observer.ObservedLogs, level string) int {
	return logs.Filter(func(e observer.LoggedEntry) bool { return e.Level.String() == level }).Len()
}

func TestFileDirectory_knowsNobodyElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.csv")
	writeUsers(t, path, "alice,"+uuidAlice, time.Unix(1, 0))
	f, _ := newFileDirectory(t, path)
	wantUUID(t, f, "alice", uuidAlice)
	wantUUID(t, f, "Alice", "") // it is asked for names in their one spelling
	wantUUID(t, f, "alic", "")
	wantUUID(t, f, "", "")
}

func TestFileDirectory_readsAgainWhenChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "users.csv")
		writeUsers(t, path, "alice,"+uuidAlice, time.Unix(1, 0))
		f, logs := newFileDirectory(t, path)

		writeUsers(t, path, "alice,"+uuidBob, time.Unix(2, 0)) // of the same size
		time.Sleep(directoryCheck - 1)
		wantUUID(t, f, "alice", uuidAlice) // not looked at yet
		time.Sleep(1)
		wantUUID(t, f, "alice", uuidBob)

		writeUsers(t, path, "bob,"+uuidBob, time.Unix(2, 0)) // of the same time
		time.Sleep(directoryCheck)
		wantUUID(t, f, "alice", "")
		wantUUID(t, f, "bob", uuidBob)
		if got := countLevel(logs, "info"); got != 2 {
			t.Errorf("logged %d readings, want 2", got)
		}

		// An unchanged file is not read, and not spoken of.
		logs.TakeAll()
		time.Sleep(time.Hour)
		wantUUID(t, f, "bob", uuidBob)
		if got := logs.Len(); got != 0 {
			t.Errorf("logged %d lines about a file that is as it was", got)
		}
	})
}

// A mistake in the file must neither lock everybody out nor fill the log.
func TestFileDirectory_keepsUsersWhenTheFileTurnsBad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "users.csv")
		writeUsers(t, path, "alice,"+uuidAlice, time.Unix(1, 0))
		f, logs := newFileDirectory(t, path)

		writeUsers(t, path, "alice,"+uuidBob+"\nmallory", time.Unix(2, 0))
		for range 3 {
			time.Sleep(directoryCheck)
			wantUUID(t, f, "alice", uuidAlice)
		}
		if got := countLevel(logs, "error"); got != 1 {
			t.Fatalf("logged %d errors, want 1", got)
		}
		logged := logs.TakeAll()[0].ContextMap()["error"].(string)
		if !strings.Contains(logged, path+":2: ") || strings.Contains(logged, "mallory") {
			t.Errorf("log says %q, want file and line and not the line's content", logged)
		}

		// Another bad version is news.
		writeUsers(t, path, "alice", time.Unix(3, 0))
		time.Sleep(directoryCheck)
		wantUUID(t, f, "alice", uuidAlice)
		if got := countLevel(logs, "error"); got != 1 {
			t.Errorf("logged %d errors about the second bad version, want 1", got)
		}

		writeUsers(t, path, "alice,"+uuidBob, time.Unix(4, 0))
		time.Sleep(directoryCheck)
		wantUUID(t, f, "alice", uuidBob)
	})
}

func TestFileDirectory_keepsUsersWhenTheFileIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "users.csv")
		writeUsers(t, path, "alice,"+uuidAlice, time.Unix(1, 0))
		f, logs := newFileDirectory(t, path)

		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(directoryCheck)
			wantUUID(t, f, "alice", uuidAlice)
		}
		if got := countLevel(logs, "error"); got != 1 {
			t.Errorf("logged %d errors, want 1", got)
		}

		writeUsers(t, path, "bob,"+uuidBob, time.Unix(2, 0))
		time.Sleep(directoryCheck)
		wantUUID(t, f, "alice", "")
		wantUUID(t, f, "bob", uuidBob)
	})
}

func TestFileDirectory_refusesToStart(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.csv")
	writeUsers(t, bad, "alice\n", time.Unix(1, 0))
	large := filepath.Join(dir, "large.csv")
	writeUsers(t, large, "", time.Unix(1, 0))
	if err := os.Truncate(large, directoryMax+1); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, path, want string }{
		{"without a path", "", "path of the directory is missing"},
		{"with a placeholder that stands for nothing", "{env.STEP_UP_TEST_UNSET}", "env.STEP_UP_TEST_UNSET"},
		{"without the file", filepath.Join(dir, "none.csv"), "opening the directory: "},
		{"with a folder", dir, "reading the directory: "},
		{"with a bad line", bad, bad + ":1: "},
		{"with a file that is too large", large, "more than 67108864 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
			defer cancel()
			err := (&FileDirectory{Path: tt.path}).Provision(ctx)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}
