package text

import (
	"slices"
	"strings"
	"unicode"
)

// name is the name of a field as it was sent or as the operator wrote it,
// together with what receivers may make of it.
type name struct {
	raw     string
	folded  string
	parents []int // lengths in folded of what it would be an element of
}

// newName folds a name: it drops what receivers overlook. PHP turns spaces, dots
// and brackets into underscores, Rack strips brackets, Spring gives a leading _
// or ! a meaning, ASP.NET ignores case. So letters are compared without case,
// whatever stands between them counts as one underscore, and at the ends it does
// not count.
func newName(raw string) name {
	n := name{raw: raw}
	var b strings.Builder
	gap := false
	for _, r := range raw {
		if unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r) {
			if gap && b.Len() > 0 {
				b.WriteByte('_')
			}
			gap = false
			b.WriteRune(foldRune(r))
			continue
		}
		// amount[0] in PHP, Rack and qs, amount(1i) in Rails.
		if (r == '[' || r == '(') && b.Len() > 0 {
			n.parents = append(n.parents, b.Len())
		}
		gap = true
	}
	n.folded = b.String()
	return n
}

// clashes reports whether a receiver could take n for m, or one for an element
// of the other. A name in a template never folds to nothing, see [Parse].
func (n name) clashes(m name) bool {
	return n.folded == m.folded || n.within(m) || m.within(n)
}

// within reports whether n could be an element of m.
func (n name) within(m name) bool {
	return strings.HasPrefix(n.folded, m.folded) && slices.Contains(n.parents, len(m.folded))
}

// foldCase returns s with each letter in place of all its case variants,
// including those that encoding/json takes for ASCII letters: ſ and K.
func foldCase(s string) string {
	return strings.Map(foldRune, s)
}

// foldRune returns the smallest of the case variants of r.
func foldRune(r rune) rune {
	least := r
	for v := unicode.SimpleFold(r); v != r; v = unicode.SimpleFold(v) {
		least = min(least, v)
	}
	return least
}

// bracketed writes steps as a form would: [a][b].
func bracketed(steps []string) string {
	var b strings.Builder
	for _, step := range steps {
		b.WriteString("[" + step + "]")
	}
	return b.String()
}
