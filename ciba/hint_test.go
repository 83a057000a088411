package ciba

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestMitIDHint(t *testing.T) {
	h := MitIDHint{UUID: testUUID, ReferenceText: `Betal <100> & "ø" 😉`, IP: "192.0.2.1", Action: "APPROVE", ReferenceID: "r", Nonce: "n"}
	const want = `{"idp":"mitid","uuid":"` + testUUID + `","referenceTextBody":"Betal <100> & \"ø\" 😉","ip":"192.0.2.1","action":"APPROVE","referenceId":"r","ciba_nonce":"n"}`
	plain, err := h.Plain()
	if err != nil || plain != want {
		t.Errorf("plain: got %s, error %v", plain, err)
	}
	encoded, err := h.Base64()
	if err != nil {
		t.Fatal(err)
	}
	if decoded, err := base64.StdEncoding.DecodeString(encoded); err != nil || string(decoded) != want {
		t.Errorf("Base64 decodes to %s, error %v", decoded, err)
	}
	plain, err = MitIDHint{UUID: testUUID, ReferenceText: "x", IP: "::1"}.Plain()
	if err != nil || plain != `{"idp":"mitid","uuid":"`+testUUID+`","referenceTextBody":"x","ip":"::1"}` {
		t.Errorf("shortest: got %s, error %v", plain, err)
	}
}

func TestMitIDHint_checks(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*MitIDHint)
		want   string // in the hint; "" for refused
	}{
		{"130 characters of four bytes", func(h *MitIDHint) { h.ReferenceText = strings.Repeat("😉", 130) }, strings.Repeat("😉", 130)},
		{"131 characters", func(h *MitIDHint) { h.ReferenceText = strings.Repeat("a", 131) }, ""},
		{"no text", func(h *MitIDHint) { h.ReferenceText = "" }, ""},
		{"text not UTF-8", func(h *MitIDHint) { h.ReferenceText = "a\xff" }, ""},
		{"reference not UTF-8", func(h *MitIDHint) { h.ReferenceID = "a\xff" }, ""},
		{"nonce not UTF-8", func(h *MitIDHint) { h.Nonce = "a\xff" }, ""},
		{"no person", func(h *MitIDHint) { h.UUID = "" }, ""},
		{"a CPR number for a person", func(h *MitIDHint) { h.UUID = "010101-0101" }, ""},
		{"UUID in braces", func(h *MitIDHint) { h.UUID = "{" + testUUID[1:35] + "}" }, ""},
		{"UUID with a dash moved", func(h *MitIDHint) { h.UUID = "1111111-12222-3333-4444-555555555abc" }, ""},
		{"UUID in capitals", func(h *MitIDHint) { h.UUID = strings.ToUpper(testUUID) }, strings.ToUpper(testUUID)},
		{"no address", func(h *MitIDHint) { h.IP = "" }, ""},
		{"address with port", func(h *MitIDHint) { h.IP = "192.0.2.1:80" }, ""},
		{"IPv6 with zone", func(h *MitIDHint) { h.IP = "fe80::1%eth0" }, `"ip":"fe80::1"`},
		{"IPv4 mapped", func(h *MitIDHint) { h.IP = "::ffff:192.0.2.1" }, `"ip":"192.0.2.1"`},
		{"unknown action", func(h *MitIDHint) { h.Action = "approve" }, ""},
		{"LOG_ON", func(h *MitIDHint) { h.Action = "LOG_ON" }, `"action":"LOG_ON"`},
		{"CONFIRM", func(h *MitIDHint) { h.Action = "CONFIRM" }, `"action":"CONFIRM"`},
		{"ACCEPT", func(h *MitIDHint) { h.Action = "ACCEPT" }, `"action":"ACCEPT"`},
		{"SIGN", func(h *MitIDHint) { h.Action = "SIGN" }, `"action":"SIGN"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := MitIDHint{UUID: testUUID, ReferenceText: "x", IP: "192.0.2.1"}
			tc.change(&h)
			got, err := h.Plain()
			if _, err64 := h.Base64(); (err == nil) != (err64 == nil) {
				t.Errorf("Plain says %v, Base64 %v", err, err64)
			}
			switch {
			case tc.want == "" && err == nil:
				t.Errorf("accepted as %s", got)
			case tc.want != "" && (err != nil || !strings.Contains(got, tc.want)):
				t.Errorf("got %s, error %v; want %s in it", got, err, tc.want)
			case err != nil && h.UUID != "" && strings.Contains(err.Error(), h.UUID):
				t.Errorf("error quotes the UUID: %v", err)
			}
		})
	}
}

func TestParseLoA(t *testing.T) {
	for s, want := range map[string]LoA{
		"low": LoALow, "Substantial": LoASubstantial, "SUBSTANTIAL": LoASubstantial, "High": LoAHigh,
		"https://data.gov.dk/concept/core/nsis/Low":         LoALow,
		"https://data.gov.dk/concept/core/nsis/Substantial": LoASubstantial,
		"https://data.gov.dk/concept/core/nsis/High":        LoAHigh,
	} {
		if got, err := ParseLoA(s); err != nil || got != want {
			t.Errorf("%q: got %v, error %v", s, got, err)
		}
	}
	for _, s := range []string{"", "none", "substantial ", "3", "https://evil.example/High", "https://data.gov.dk/concept/core/nsis/loa/High", "ſubstantial"} {
		if got, err := ParseLoA(s); err == nil || got != LoANone {
			t.Errorf("%q: got %v, want an error", s, got)
		}
	}
	for l, want := range map[LoA]string{LoANone: "none", LoALow: "low", LoASubstantial: "substantial", LoAHigh: "high", 7: "none"} {
		if got := l.String(); got != want {
			t.Errorf("%d prints as %q", int(l), got)
		}
	}
}
