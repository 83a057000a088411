package text

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/bidi"
)

// emojiPresentation asks for the coloured form of the symbol before it.
const emojiPresentation = 0xFE0F

// maxMarks is how many combining marks may stand on one letter. More than a
// few paint over the lines around them.
const maxMarks = 2

// hidden are characters that leave no mark on the screen, or only a box, and
// are not in a category that is refused as a whole.
var hidden = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x2800, Hi: 0x2800, Stride: 1}, // braille pattern blank
		{Lo: 0xFFFC, Hi: 0xFFFD, Stride: 1}, // object replacement, replacement character
	},
	R32: []unicode.Range32{
		{Lo: 0x1D159, Hi: 0x1D159, Stride: 1}, // musical symbol null notehead
	},
}

// checkCharacters returns what is wrong with the characters of s, or "". Spaces
// side by side are refused because they may be shown as one.
func checkCharacters(s string) Kind {
	if !utf8.ValidString(s) {
		return KindEncoding
	}
	var (
		prev  rune
		onTop = -1 // marks on the letter before, -1 where no mark may stand
	)
	for _, r := range s {
		switch {
		case r == ' ' && prev == ' ':
			return KindCharacters
		case r == emojiPresentation && unicode.Is(unicode.So, prev):
			onTop = -1
		case !visible(r):
			return KindCharacters
		case unicode.IsMark(r):
			// On a digit a mark could strike it out.
			if onTop < 0 || onTop == maxMarks {
				return KindCharacters
			}
			onTop++
		case unicode.IsLetter(r):
			onTop = 0
		default:
			onTop = -1
		}
		prev = r
	}
	return ""
}

// visible reports whether r shows as what it is and where it is. The list is of
// what is allowed: letters, marks, ASCII digits, punctuation, symbols and the
// space. Control, format, private and unassigned characters, line separators
// and other spaces are thereby refused, and so are digits and numbers outside
// ASCII, which look like other ones.
func visible(r rune) bool {
	switch {
	case r == ' ' || '0' <= r && r <= '9':
		return true
	case !unicode.In(r, unicode.L, unicode.Mn, unicode.Mc, unicode.P, unicode.S):
		return false
	case unicode.In(r, hidden, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point):
		return false
	}
	// Letters that run from right to left move the digits next to them, and
	// the controls that would hold these in place are refused too.
	p, _ := bidi.LookupRune(r)
	switch p.Class() {
	case bidi.R, bidi.AL, bidi.AN:
		return false
	default:
		return true
	}
}
