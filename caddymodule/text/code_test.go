package text

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"testing"
)

// A code never changes for a seed: gateways of two versions may serve one page.
func TestCheckCode_isStable(t *testing.T) {
	sum := sha256.Sum256([]byte("seed"))
	if a, b := CheckCode(sum[:]), CheckCode(append(sum[:], 1)); a != b || a != "HXX7" {
		t.Errorf("codes %q and %q", a, b)
	}
	if got := CheckCode(make([]byte, 32)); got != "2222" {
		t.Errorf("code of zeros is %q", got)
	}
}

func TestCheckCode_usesTheWholeAlphabetEvenly(t *testing.T) {
	if strings.ContainsAny(codeAlphabet, "AEIOUY01L6BSZ") {
		t.Errorf("alphabet %s has look-alikes or vowels", codeAlphabet)
	}
	const rounds = 100_000
	var counts [codeLength]map[rune]int
	for i := range counts {
		counts[i] = make(map[rune]int)
	}
	var n [8]byte
	for i := range uint64(rounds) {
		binary.BigEndian.PutUint64(n[:], i)
		sum := sha256.Sum256(n[:])
		for pos, c := range CheckCode(sum[:]) {
			counts[pos][c]++
		}
	}
	mean := rounds / len(codeAlphabet)
	for pos := range counts {
		for _, c := range codeAlphabet {
			// Ten standard deviations are about 15 % here.
			if got := counts[pos][c]; got < mean*85/100 || got > mean*115/100 {
				t.Errorf("%c is %d times at %d, expected about %d", c, got, pos, mean)
			}
		}
	}
}

func TestCheckCode_panicsOnShortSeed(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	CheckCode(make([]byte, 31))
}

func TestWithCode(t *testing.T) {
	for _, tc := range []struct {
		name, text, want string
		kind             Kind
	}{
		{"appends", "Betal 1 kr.", "Betal 1 kr. [CDF2]", ""},
		{"123 characters", strings.Repeat("x", 123), strings.Repeat("x", 123) + " [CDF2]", ""},
		{"124 characters", strings.Repeat("x", 124), "", KindTooLong},
		{"empty text", "", "", KindMissing},
		{"text with a space at its end", "a ", "", KindCharacters},
		{"text with an override", "a\u202e", "", KindCharacters},
	} {
		got, err := WithCode(tc.text, "CDF2")
		if kind := kindOf(t, err); got != tc.want || kind != tc.kind {
			t.Errorf("%s: %q, %q", tc.name, got, kind)
		}
	}
	for _, code := range []string{"", "CDF", "CDF22", "cdf2", "CDF0", "CD]2", "CøD"} {
		if got, err := WithCode("a", code); err == nil {
			t.Errorf("code %q: %q", code, got)
		}
	}
}
