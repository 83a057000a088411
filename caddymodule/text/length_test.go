package text

import (
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

func TestLength_isTheLargerCount(t *testing.T) {
	for s, want := range map[string]int{"": 0, "abc": 3, "Søren": 5, "e\u0301": 2, "€": 1, "🔑": 2, "a🔑b": 4} {
		if got := Length(s); got != want {
			t.Errorf("Length(%q) = %d, want %d", s, got, want)
		}
		if got := Length(s); got < utf8.RuneCountInString(s) || got != len(utf16.Encode([]rune(s))) {
			t.Errorf("Length(%q) = %d is neither count", s, got)
		}
	}
}

func TestCheck_refusesLongAndEmpty(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		kind       Kind
	}{
		{"empty", "", KindMissing},
		{"130", strings.Repeat("x", 130), ""},
		{"131", strings.Repeat("x", 131), KindTooLong},
		{"130 of two bytes", strings.Repeat("ø", 130), ""},
		{"131 of two bytes", strings.Repeat("ø", 131), KindTooLong},
		// 66 code points, but 132 UTF-16 code units.
		{"65 emoji", strings.Repeat("🔑", 65), ""},
		{"66 emoji", strings.Repeat("🔑", 66), KindTooLong},
	} {
		if err := Check(tc.text); kindOf(t, err) != tc.kind {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.kind)
		}
	}
}
