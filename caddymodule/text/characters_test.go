package text

import (
	"strings"
	"testing"
	"unicode"
)

// Text on the phone must show what is in it, where it is (CVE-2021-42574 and
// relatives).
func TestCharacters_refusesWhatDoesNotShow(t *testing.T) {
	for name, s := range map[string]string{
		"NUL":                        "1\x000",
		"tab":                        "1\t0",
		"line end":                   "1\n0",
		"DEL":                        "1\x7f0",
		"C1 control":                 "1\u00850",
		"right-to-left override":     "1\u202e0",
		"left-to-right embedding":    "1\u202a0",
		"pop directional formatting": "1\u202c0",
		"right-to-left isolate":      "1\u20670",
		"pop directional isolate":    "1\u20690",
		"left-to-right mark":         "1\u200e0",
		"right-to-left mark":         "1\u200f0",
		"Arabic letter mark":         "1\u061c0",
		"zero width space":           "1\u200b0",
		"zero width non-joiner":      "a\u200cb",
		"zero width joiner":          "👩\u200d👧",
		"word joiner":                "1\u20600",
		"invisible plus":             "1\u20640",
		"byte order mark":            "\ufeff10",
		"soft hyphen":                "1\u00ad0",
		"Mongolian vowel separator":  "1\u180e0",
		"Mongolian selector":         "a\u180b",
		"grapheme joiner":            "a\u034f",
		"Hangul filler":              "1\u31640",
		"Hangul choseong filler":     "1\u115f0",
		"halfwidth Hangul filler":    "1\uffa00",
		"Khmer inherent vowel":       "\u1780\u17b4",
		"tag":                        "1\U000e00310",
		"variation selector":         "1\ufe000",
		"selector supplement":        "a\U000e0100",
		"emoji selector on a digit":  "1\ufe0f",
		"emoji selector on a letter": "a\ufe0f",
		"emoji selector at start":    "\ufe0f1",
		"two emoji selectors":        "⚠\ufe0f\ufe0f",
		"mark after emoji selector":  "⚠\ufe0f\u0338",
		"keycap":                     "1\u20e3",
		"enclosing circle":           "a\u20dd",
		"line separator":             "1\u20280",
		"paragraph separator":        "1\u20290",
		"no-break space":             "1\u00a00",
		"narrow no-break space":      "1\u202f0",
		"ideographic space":          "1\u30000",
		"Ogham space":                "1\u16800",
		"braille blank":              "1\u28000",
		"null notehead":              "1\U0001d1590",
		"replacement character":      "1\ufffd0",
		"object replacement":         "1\ufffc0",
		"private use":                "1\ue0000",
		"private use, plane 16":      "1\U001000000",
		"noncharacter":               "1\uffff0",
		"noncharacter FDD0":          "1\ufdd00",
		"unassigned":                 "1\u03780",
		"fullwidth digit":            "１",
		"Arabic-Indic digit":         "٣",
		"Devanagari digit":           "३",
		"mathematical digit":         "𝟏",
		"superscript digit":          "1²",
		"circled digit":              "①",
		"Roman numeral":              "Ⅷ",
		"Hebrew":                     "א 5",
		"Arabic":                     "ب 100",
		"stroke on a digit":          "1\u03380",
		"mark on a space":            "a \u0301",
		"mark at the start":          "\u0301a",
		"three marks":                "a\u0301\u0302\u0303",
		"two spaces":                 "a  b",
		"space at the start":         " a",
		"space at the end":           "a ",
	} {
		if err := Check(s); kindOf(t, err) != KindCharacters {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, s := range map[string]string{"stray byte": "a\xff", "overlong": "\xc0\xaf", "surrogate": "\xed\xa0\x80"} {
		if err := Check(s); kindOf(t, err) != KindEncoding {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCharacters_accepts(t *testing.T) {
	for _, s := range []string{
		"Betal 1.000,50 kr. til Søren Ægidius Åkjær-Østergård & Co. (nr. 12/7) – 50 %", "ostemawd :=)", "€ £ $ § @ # * + = < > [ ] { } | ~ ^ `",
		"„citat” “quote” ‘a’ «b» …", "Žižek, Łódź, Nguyễn, Straße, İstanbul", "re\u0301sume\u0301 a\u0323\u0302", "Ελλάδα Київ", "東京 서울",
		"नमस्ते", "ไทย", "🔑 💸 👍🏽 🇩🇰 ⚠\ufe0f ❤\ufe0f", "a b c",
	} {
		if err := Check(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// Whole categories, so that no single character slips through.
func TestCharacters_refusesCategories(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if unicode.Is(unicode.Cs, r) {
			continue
		}
		var why string
		switch {
		case unicode.In(r, unicode.C, unicode.Zl, unicode.Zp):
			why = "control, format, private or separator"
		case unicode.Is(unicode.Zs, r) && r != ' ':
			why = "other space"
		case unicode.IsNumber(r) && r > unicode.MaxASCII:
			why = "other number"
		case unicode.Is(unicode.Noncharacter_Code_Point, r):
			why = "noncharacter"
		case !unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Z, unicode.C):
			why = "unassigned"
		case unicode.Is(unicode.Bidi_Control, r):
			why = "bidi control"
		case unicode.In(r, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point):
			why = "invisible"
		case unicode.In(r, unicode.Hebrew, unicode.Arabic, unicode.Syriac, unicode.Thaana, unicode.Nko) && unicode.IsLetter(r):
			why = "right to left"
		default:
			continue
		}
		if Check("a"+string(r)+"b") == nil {
			t.Errorf("%U is allowed: %s", r, why)
		}
	}
}

// FuzzCheck holds an accepted text to the rules, said in another way.
func FuzzCheck(f *testing.F) {
	f.Add("Betal 1 kr.")
	f.Add("⚠\ufe0f e\u0301")
	f.Fuzz(func(t *testing.T, s string) {
		if Check(s) != nil {
			return
		}
		if s == "" || s != strings.TrimSpace(s) || strings.Join(strings.Fields(s), " ") != s {
			t.Errorf("%q has odd spaces", s)
		}
		if strings.ToValidUTF8(s, "") != s || len([]rune(s)) > MaxLength {
			t.Errorf("%q is invalid or too long", s)
		}
		for _, r := range s {
			if !unicode.IsGraphic(r) {
				t.Errorf("%q has %U", s, r)
			}
		}
	})
}
