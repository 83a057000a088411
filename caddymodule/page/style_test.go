package page

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// luminance is the relative luminance of a colour (WCAG 2.1, glossary).
func luminance(t *testing.T, color string) float64 {
	t.Helper()
	rgb, err := strconv.ParseUint(strings.TrimPrefix(color, "#"), 16, 24)
	if err != nil || len(color) != 7 {
		t.Fatalf("colour %q", color)
	}
	channel := func(c uint64) float64 {
		v := float64(c&0xff) / 255
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*channel(rgb>>16) + 0.7152*channel(rgb>>8) + 0.0722*channel(rgb)
}

// WCAG 2.1 success criteria 1.4.3 (text, 4.5:1) and 1.4.11 (edges of controls
// and the focus, 3:1), in light and in dark.
func TestStyle_hasEnoughContrast(t *testing.T) {
	pairs := []struct {
		front, back string
		least       float64
	}{
		{"text", "card", 4.5},
		{"text", "quote", 4.5},
		{"muted", "card", 4.5},
		{"button-text", "button", 4.5},
		{"button", "card", 4.5}, // the second button's label and edge
		{"warning-text", "warning", 4.5},
		{"focus", "card", 3},
		{"bar", "quote", 3},
		{"warning-line", "warning", 3},
	}
	variable := regexp.MustCompile(`--([a-z-]+): (\S+);`)
	light, dark, ok := strings.Cut(string(style), "@media (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("no dark colours")
	}
	for scheme, css := range map[string]string{"light": light, "dark": dark} {
		colors := map[string]string{}
		for _, m := range variable.FindAllStringSubmatch(css, -1) {
			colors[m[1]] = m[2]
		}
		if len(colors) != 13 {
			t.Errorf("%s: %d colours, want 13", scheme, len(colors))
		}
		for _, p := range pairs {
			a, b := luminance(t, colors[p.front]), luminance(t, colors[p.back])
			if ratio := (max(a, b) + 0.05) / (min(a, b) + 0.05); ratio < p.least {
				t.Errorf("%s: %s on %s is %.2f:1, want %.1f:1", scheme, p.front, p.back, ratio, p.least)
			}
		}
	}
	// A colour outside the variables escapes this test.
	rules := variable.ReplaceAllString(string(style), "")
	if m := regexp.MustCompile(`#[0-9a-fA-F]{3,8}\b|rgba?\(|hsla?\(`).FindString(rules); m != "" {
		t.Errorf("colour %q is not a variable", m)
	}
}

func TestStyle_keepsFocusVisibleAndNothingMoves(t *testing.T) {
	if !strings.Contains(string(style), ":focus-visible { outline: 3px solid") {
		t.Error("no visible focus")
	}
	for _, s := range []string{"outline: none", "outline: 0", "animation", "transition", "@keyframes", "user-select: none"} {
		if strings.Contains(string(style), s) {
			t.Errorf("style has %q", s)
		}
	}
}
