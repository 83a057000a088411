package caddymodule

import (
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The request headers that the gate reads. They never reach the upstream.
const (
	headerSession  = "Step-Up-Session"
	headerStatus   = "Step-Up-Status"
	headerApproval = "Step-Up-Approval"
	headerRestart  = "Step-Up-Restart"
)

// maxStatusWait bounds how long a question for the state is held back.
const maxStatusWait = time.Minute

// signals is what a client tells the gate, apart from its request.
type signals struct {
	session string // the token in Step-Up-Session
	handle  string // an approval's, in Step-Up-Approval or a control
	restart string // the id of the ended approval that is to start over
	action  string // of a control: continue, restart or cancel

	status     bool          // the client asks for the state only
	statusWait time.Duration // how long the answer may be held back

	respondAsync bool          // Prefer: respond-async
	wait         time.Duration // Prefer: wait=N; negative for none
}

// takeSignals reads the gate's headers and removes them from the request, in
// every spelling that something behind could take for them.
func takeSignals(r *http.Request) signals {
	s := signals{wait: -1}
	for name, values := range r.Header {
		if isOurs(name) {
			delete(r.Header, name)
			s.takeHeader(name, values)
		}
	}
	removeHopByHop(r)
	s.takePreferences(r.Header["Prefer"])
	return s
}

// takeHeader reads one header of the gate's. Other spellings of its name than
// the canonical one say nothing.
func (s *signals) takeHeader(name string, values []string) {
	if len(values) == 0 {
		return
	}
	switch value := values[0]; name {
	case headerSession:
		s.session = value
	case headerApproval:
		s.handle = value
	case headerRestart:
		s.restart = value
	case headerStatus:
		s.status = true
		if seconds, err := strconv.ParseUint(value, 10, 16); err == nil {
			s.statusWait = min(time.Duration(seconds)*time.Second, maxStatusWait)
		}
	}
}

// connectionOptions are what Connection may say, besides upgrade. Any other
// option is the name of a header that a proxy behind would drop (RFC 9110
// §7.6.1): what was read here, or set here, would not arrive.
var connectionOptions = map[string]bool{"close": true, "keep-alive": true, "te": true}

// removeHopByHop removes from Connection what is not of the connection, and
// trailers as a whole: they come after everything that was decided, and nothing
// that is approved needs them.
func removeHopByHop(r *http.Request) {
	r.Trailer = nil
	delete(r.Header, "Trailer")
	// An upgrade to another protocol than WebSocket, such as h2c, would open a
	// way to the upstream for requests that nobody sees here.
	upgrades := slices.Equal(lower(r.Header.Values("Upgrade")), []string{"websocket"})
	if !upgrades {
		delete(r.Header, "Upgrade")
		delete(r.Header, "Http2-Settings")
	}
	lines, ok := r.Header["Connection"]
	if !ok {
		return
	}
	var kept []string
	for _, line := range lines {
		for option := range strings.SplitSeq(line, ",") {
			if option = strings.TrimSpace(option); connectionOptions[strings.ToLower(option)] ||
				upgrades && strings.EqualFold(option, "upgrade") {
				kept = append(kept, option)
			}
		}
	}
	if len(kept) == 0 {
		delete(r.Header, "Connection")
		return
	}
	r.Header["Connection"] = []string{strings.Join(kept, ", ")}
}

func lower(values []string) []string {
	out := make([]string, len(values))
	for i, value := range values {
		out[i] = strings.ToLower(value)
	}
	return out
}

// isOurs tells whether a header would be read as one of the gate's, by a
// server that folds case, underscores and dots.
func isOurs(name string) bool {
	const prefix = "step-up-"
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if foldByte(name[i]) != prefix[i] {
			return false
		}
	}
	return true
}

// takePreferences reads what matters here of Prefer (RFC 7240).
func (s *signals) takePreferences(values []string) {
	for _, value := range values {
		for preference := range listElements(value) {
			preference, _, _ = strings.Cut(preference, ";")
			name, value, _ := strings.Cut(preference, "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "respond-async":
				s.respondAsync = true
			case "wait":
				seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 32)
				if err == nil && s.wait < 0 {
					s.wait = time.Duration(seconds) * time.Second
				}
			}
		}
	}
}

// listElements splits a list at its commas, but for those in quoted strings
// (RFC 9110 §5.6.1).
func listElements(list string) iter.Seq[string] {
	var quoted, escaped bool
	return strings.FieldsFuncSeq(list, func(r rune) bool {
		switch {
		case escaped:
			escaped = false
		case quoted && r == '\\':
			escaped = true
		case r == '"':
			quoted = !quoted
		}
		return r == ',' && !quoted
	})
}
