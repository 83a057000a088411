package page

import (
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		header string
		want   Language
	}{
		{"", English},
		{"da", Danish},
		{"DA-dk", Danish},
		{"da-DK,da;q=0.9,en-US;q=0.8,en;q=0.7", Danish},
		{"en-GB,en;q=0.9,da;q=0.8", English},
		{"en;q=0.1, da;q=0.2", Danish},
		{"nb-NO", Danish},
		{"nn", Danish},
		{"no", Danish},
		{"sv-SE,sv;q=0.9,en;q=0.8", Danish},
		{"fo", Danish},
		{"kl-GL", Danish},
		{"de-DE,de;q=0.9", English},
		{"de, da;q=0.5, en;q=0.3", Danish},
		{"de, en;q=0.5, da;q=0.3", English},
		{"da;q=0, en", English},
		{"da;q=0", English},
		{"*", English},
		{"da;q=x", English},
		{"<script>", English},
		{strings.Repeat("da,", 341) + "d", English},
		{strings.Repeat("da,", 341), Danish},
		{strings.Repeat("da,", 342), English},
	} {
		if got := Match(tc.header); got != tc.want {
			t.Errorf("Match(%.40q) = %s, want %s", tc.header, got, tc.want)
		}
	}
}

func FuzzMatch(f *testing.F) {
	for _, s := range []string{"", "da", "en-US,en;q=0.5", "x-klingon", "da;q=1e999", "-,-;q="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if tables[Match(s)] == nil {
			t.Errorf("Match(%q) has no words", s)
		}
	})
}

func TestDefaultText(t *testing.T) {
	for l, want := range map[Language]string{
		Danish:  "Godkend: POST bank.example.dk/transfers",
		English: "Approve: POST bank.example.dk/transfers",
		"":      "Approve: POST bank.example.dk/transfers",
	} {
		if got := DefaultText(l, "POST", "bank.example.dk", "/transfers"); got != want {
			t.Errorf("%q: %q, want %q", l, got, want)
		}
	}
	long := "/" + strings.Repeat("x", 500)
	if got := DefaultText(Danish, "GET", "a", long); !strings.HasSuffix(got, long) {
		t.Error("the text was cut")
	}
}
