package ciba

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"unicode/utf8"
)

// MaxReferenceText is the greatest length of a reference text that MitID
// accepts, in characters, which are Unicode code points here.
const MaxReferenceText = 130

// hintActions are the headings that MitID's app knows.
var hintActions = []string{"LOG_ON", "APPROVE", "CONFIRM", "ACCEPT", "SIGN"}

// MitIDHint is the login_hint_token that Signaturgruppen's broker takes: not the
// JWT that CIBA Core suggests, but a JSON object that says whom to ask in MitID
// and what to show them.
type MitIDHint struct {
	// UUID is the person's MitID UUID. It is required.
	UUID string

	// ReferenceText is what MitID's app shows: 1 to [MaxReferenceText]
	// characters of UTF-8.
	ReferenceText string

	// IP is the address that the person's request came from. It is required.
	IP string

	// Action is the heading in the app: LOG_ON, APPROVE, CONFIRM, ACCEPT or
	// SIGN; the broker's choice where empty.
	Action string

	// ReferenceID is the caller's own reference, opaque to the broker.
	ReferenceID string

	// Nonce comes back with the tokens, as ciba_nonce.
	Nonce string
}

// Plain is the hint as JSON.
func (h MitIDHint) Plain() (string, error) {
	ip, err := netip.ParseAddr(h.IP)
	switch {
	case !isUUID(h.UUID):
		return "", errors.New("making MitID hint: the UUID is malformed")
	case h.ReferenceText == "":
		return "", errors.New("making MitID hint: the reference text is empty")
	case !utf8.ValidString(h.ReferenceText), !utf8.ValidString(h.ReferenceID), !utf8.ValidString(h.Nonce):
		return "", errors.New("making MitID hint: a text is not UTF-8")
	case utf8.RuneCountInString(h.ReferenceText) > MaxReferenceText:
		return "", fmt.Errorf("making MitID hint: the reference text is longer than %d characters", MaxReferenceText)
	case err != nil:
		return "", errors.New("making MitID hint: the ip is not an IP address")
	case h.Action != "" && !slices.Contains(hintActions, h.Action):
		return "", errors.New("making MitID hint: the action must be LOG_ON, APPROVE, CONFIRM, ACCEPT or SIGN")
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // a text with & or < is to arrive as it is
	err = enc.Encode(struct {
		IDP         string `json:"idp"`
		UUID        string `json:"uuid"`
		Text        string `json:"referenceTextBody"`
		IP          string `json:"ip"`
		Action      string `json:"action,omitempty"`
		ReferenceID string `json:"referenceId,omitempty"`
		Nonce       string `json:"ciba_nonce,omitempty"`
	}{
		"mitid", h.UUID, h.ReferenceText,
		// A zone names an interface of this machine, and a mapped address is
		// an IPv4 address in another notation.
		ip.Unmap().WithZone("").String(),
		h.Action, h.ReferenceID, h.Nonce,
	})
	if err != nil {
		return "", fmt.Errorf("making MitID hint: %w", err)
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// Base64 is the hint as JSON in Base64, of the standard alphabet and padded.
func (h MitIDHint) Base64() (string, error) {
	s, err := h.Plain()
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString([]byte(s)), nil
}

// isUUID tells whether s has the form of a UUID (RFC 9562 §4). It is ASCII then.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		b := s[i]
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if b != '-' {
				return false
			}
		case b >= '0' && b <= '9', b >= 'a' && b <= 'f', b >= 'A' && b <= 'F':
		default:
			return false
		}
	}
	return true
}
