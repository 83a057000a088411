package text

import "unicode/utf8"

// MaxLength is how long a text may be by [Length].
const MaxLength = 130

// Length counts s as MitID may count it. MitID limits texts to 130 characters
// and does not publish what a character is, so the larger of the usual counts
// decides: UTF-16 code units, of which there are never fewer than code points.
// An emoji outside the Basic Multilingual Plane counts as two.
func Length(s string) int {
	n := utf8.RuneCountInString(s)
	for _, r := range s {
		if r > 0xFFFF {
			n++
		}
	}
	return n
}

// Check applies the rules for a whole text: valid UTF-8, not empty, at most
// [MaxLength] long, and only characters that show as what they are. The error is
// a [*FieldError] for the field "text".
func Check(text string) error {
	if kind := checkText(text); kind != "" {
		return &FieldError{Field: "text", Kind: kind}
	}
	return nil
}

// checkText returns what is wrong with a text or a value in it, or "".
func checkText(s string) Kind {
	switch {
	case s == "":
		return KindMissing
	case Length(s) > MaxLength:
		return KindTooLong
	case s[0] == ' ' || s[len(s)-1] == ' ':
		return KindCharacters
	}
	return checkCharacters(s)
}
