package cibatest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const grantType = "urn:openid:params:grant-type:ciba"

// maxText is how many characters, counted as Unicode code points, MitID shows
// of a reference text.
const maxText = 130

var (
	uuidShape = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	cprShape  = regexp.MustCompile(`^[0-9]{10}$`)
	actions   = []string{"LOG_ON", "APPROVE", "CONFIRM", "ACCEPT", "SIGN"}
)

// handleStart is the backchannel authentication endpoint (CIBA Core 1.0 §7).
func (s *Server) handleStart(x *exchange) answer {
	if code := s.checkForm(x); code != "" {
		return refusal(code)
	}
	// The standard knows no grant_type here; the broker wants one.
	if x.form.Get("grant_type") != grantType {
		return refusal("invalid_request")
	}
	scope := x.form.Get("scope")
	if scope == "" {
		return refusal("invalid_request")
	}
	if !hasScope(scope, "openid") {
		return refusal("invalid_scope")
	}
	// CIBA Core 1.0 §7.1: exactly one hint. Here it is always the token, and
	// all parameters are in the form: signed requests are not simulated.
	if x.form.Get("login_hint") != "" || x.form.Get("id_token_hint") != "" || x.form.Get("request") != "" {
		return refusal("invalid_request")
	}
	q, ok := parseHint(x.form.Get("login_hint_token"))
	if !ok {
		return refusal("invalid_request")
	}
	if s.known != nil && !s.known[strings.ToLower(q.UUID)] {
		return refusal("unknown_user_id")
	}

	id := make([]byte, 32)
	rand.Read(id)
	q.ID = strings.ToUpper(hex.EncodeToString(id)) + "-1"
	q.State = StateWaiting
	q.CreatedAt = s.cfg.Now()
	q.ExpiresAt = q.CreatedAt.Add(s.cfg.ExpiresIn)
	x.id = q.ID

	s.mu.Lock()
	defer s.mu.Unlock()
	added := &request{Request: q, scope: scope, transactionID: newUUID(), interval: s.cfg.Interval}
	s.requests = append(s.requests, added)
	s.byID[q.ID] = added
	return jsonAnswer(http.StatusOK, struct {
		AuthReqID string `json:"auth_req_id"`
		ExpiresIn int64  `json:"expires_in"`
		Interval  int64  `json:"interval"`
	}{q.ID, int64(s.cfg.ExpiresIn / time.Second), int64(s.cfg.Interval / time.Second)})
}

// parseHint reads the broker's login_hint_token: a flat JSON object, plain or
// in Base64. Members that it does not know are accepted.
func parseHint(token string) (q Request, ok bool) {
	raw := []byte(token)
	if !strings.HasPrefix(strings.TrimSpace(token), "{") {
		var err error
		if raw, err = base64.StdEncoding.DecodeString(token); err != nil {
			return Request{}, false
		}
	}
	// A map, for encoding/json would let a struct's field match in any case.
	var object map[string]json.RawMessage
	if !utf8.Valid(raw) || json.Unmarshal(raw, &object) != nil {
		return Request{}, false
	}
	// The nested form in the broker's oldest sample is not valid JSON; nobody
	// should rely on a repaired one.
	if _, ok := object["idp_params"]; ok {
		return Request{}, false
	}
	hint := make(map[string]string)
	for _, name := range []string{
		"idp", "uuid", "cpr", "referenceTextBody", "ip", "action", "referenceId", "reference_id", "ciba_nonce",
	} {
		value, ok := object[name]
		if !ok {
			continue
		}
		// null leaves the text empty, and nothing may be there and empty.
		var text string
		if json.Unmarshal(value, &text) != nil || text == "" {
			return Request{}, false
		}
		hint[name] = text
	}

	q = Request{
		UUID:        hint["uuid"],
		Text:        hint["referenceTextBody"],
		Action:      hint["action"],
		IP:          hint["ip"],
		ReferenceID: hint["referenceId"] + hint["reference_id"],
		Nonce:       hint["ciba_nonce"],
	}
	cpr := hint["cpr"]
	addr, err := netip.ParseAddr(q.IP)
	switch {
	case hint["idp"] != "mitid",
		(q.UUID == "") == (cpr == ""), // exactly one
		q.UUID != "" && !uuidShape.MatchString(q.UUID),
		cpr != "" && !cprShape.MatchString(cpr),
		q.Text == "",
		utf8.RuneCountInString(q.Text) > maxText,
		err != nil,
		addr.Zone() != "",
		q.Action != "" && !slices.Contains(actions, q.Action),
		hint["referenceId"] != "" && hint["reference_id"] != "":
		return Request{}, false
	}
	if cpr != "" {
		q.UUID = derivedUUID("cpr", cpr)
	}
	return q, true
}

// newUUID makes a random UUID.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	return formatUUID(b)
}

// derivedUUID makes the same UUID from the same words every time.
func derivedUUID(words ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return formatUUID([16]byte(sum[:16]))
}

// formatUUID sets the version and variant bits of a random UUID (RFC 9562 §5.4).
func formatUUID(b [16]byte) string {
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
