package caddymodule

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(FileDirectory))
}

// Directory is a Caddy module in the namespace step_up.directories: it knows
// which MitID belongs to which user.
type Directory interface {
	// UUID returns the MitID UUID of a user, "" for one that is not known. The
	// name is in its canonical spelling: lower case, and normalized (NFKC).
	UUID(user string) (string, error)
}

// FileDirectory reads users from a CSV file: a user name and a MitID UUID on
// each line. Empty lines and lines that begin with # are skipped, and so is a
// first line "user,uuid". User names are compared without regard to case.
//
// The file is read again when it has changed. A file that then has a bad line,
// or cannot be read, is reported in the log and leaves the users as they were.
type FileDirectory struct {
	// Path is the file's. Required. Placeholders are resolved.
	Path string `json:"path,omitempty"`

	path   string
	logger *zap.Logger

	mu      sync.RWMutex
	users   map[string]string
	seen    fileVersion
	checked time.Time
	stale   bool // the last reading failed, and the log says so
}

// fileVersion tells a file from a changed one.
type fileVersion struct {
	modified time.Time
	size     int64
}

const (
	// directoryCheck is how often a file is looked at.
	directoryCheck = time.Second

	// directoryMax bounds a file, some hundred thousand users.
	directoryMax = 64 << 20
)

// CaddyModule returns the Caddy module information.
func (*FileDirectory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "step_up.directories.file",
		New: func() caddy.Module { return new(FileDirectory) },
	}
}

// Provision reads the file.
func (f *FileDirectory) Provision(ctx caddy.Context) error {
	f.logger = ctx.Logger()
	var err error
	if f.path, err = resolve("path of the directory", f.Path); err != nil {
		return err
	}
	f.users, f.seen, err = readUsers(f.path)
	f.checked = time.Now()
	return err
}

// UUID implements [Directory].
func (f *FileDirectory) UUID(user string) (string, error) {
	f.mu.RLock()
	uuid, fresh := f.users[user], time.Since(f.checked) < directoryCheck
	f.mu.RUnlock()
	if fresh {
		return uuid, nil
	}
	f.refresh()
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.users[user], nil
}

// refresh reads the file again if it has changed.
func (f *FileDirectory) refresh() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.checked) < directoryCheck {
		return
	}
	f.checked = time.Now()
	info, err := os.Stat(f.path)
	if err == nil && f.seen == versionOf(info) {
		return
	}
	var users map[string]string
	if err == nil {
		var seen fileVersion
		users, seen, err = readUsers(f.path)
		if seen != (fileVersion{}) {
			// It could be read, so whatever is wrong with it is news.
			f.seen, f.stale = seen, false
		}
	}
	if err != nil {
		if !f.stale {
			f.logger.Error("reading the directory again: users stay as they were", zap.Error(err))
		}
		f.stale = true
		return
	}
	f.users, f.stale = users, false
	f.logger.Info("read the directory again", zap.Int("users", len(users)))
}

func versionOf(info os.FileInfo) fileVersion {
	return fileVersion{info.ModTime(), info.Size()}
}

// readUsers reads a file of users. Its errors name the file and the line, and
// nothing that the line says.
func readUsers(path string) (map[string]string, fileVersion, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fileVersion{}, fmt.Errorf("opening the directory: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fileVersion{}, fmt.Errorf("opening the directory: %w", err)
	}
	content, err := io.ReadAll(io.LimitReader(file, directoryMax+1))
	switch {
	case err != nil:
		return nil, fileVersion{}, fmt.Errorf("reading the directory: %w", err)
	case len(content) > directoryMax:
		return nil, fileVersion{}, fmt.Errorf("reading the directory: %s has more than %d bytes", path, directoryMax)
	}
	users, err := parseUsers(path, content)
	return users, versionOf(info), err
}

// isUUID tells whether s has the form of a UUID (RFC 9562 §4).
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case '0' <= c && c <= '9', 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
		default:
			return false
		}
	}
	return true
}

func parseUsers(path string, content []byte) (map[string]string, error) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))))
	r.Comment = '#'
	r.FieldsPerRecord = -1
	r.ReuseRecord = true
	users := make(map[string]string)
	for first := true; ; first = false {
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			return users, nil
		}
		if pe := (*csv.ParseError)(nil); errors.As(err, &pe) {
			return nil, fmt.Errorf("%s:%d: %w", path, pe.Line, pe.Err)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the directory: %w", err)
		}
		line, _ := r.FieldPos(0)
		if len(fields) != 2 {
			return nil, fmt.Errorf("%s:%d: want two fields, a user name and a MitID UUID, not %d", path, line, len(fields))
		}
		user, uuid := strings.TrimSpace(fields[0]), strings.TrimSpace(fields[1])
		if first && strings.EqualFold(user, "user") && strings.EqualFold(uuid, "uuid") {
			continue
		}
		user, err = canonicalUser(user)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s:%d: %w", path, line, err)
		case user == "":
			return nil, fmt.Errorf("%s:%d: the user name is empty", path, line)
		case !isUUID(uuid):
			return nil, fmt.Errorf("%s:%d: the second field is no UUID", path, line)
		}
		if _, ok := users[user]; ok {
			return nil, fmt.Errorf("%s:%d: the user name is there already, further up, perhaps spelt otherwise", path, line)
		}
		users[user] = strings.ToLower(uuid)
	}
}

// UnmarshalCaddyfile sets up the module from Caddyfile tokens. Syntax:
//
//	directory file <path>
func (f *FileDirectory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume module name
	if !d.AllArgs(&f.Path) {
		return d.ArgErr()
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("unrecognized subdirective '%s'", d.Val())
	}
	return nil
}

// Interface guards
var (
	_ Directory             = (*FileDirectory)(nil)
	_ caddy.Provisioner     = (*FileDirectory)(nil)
	_ caddyfile.Unmarshaler = (*FileDirectory)(nil)
)
