package caddymodule

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// canonicalUser is the one spelling of a user name. Everything here goes by it:
// the directory, the binding and what the upstream is told. Spellings that
// people take for the same name, by case, width or composition, are the same
// user.
func canonicalUser(name string) (string, error) {
	if isCanonical(name) {
		return name, nil
	}
	if !utf8.ValidString(name) {
		return "", errors.New("user name is not UTF-8")
	}
	name = norm.NFKC.String(cases.Fold().String(norm.NFKC.String(name)))
	name = strings.TrimSpace(name)
	if strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }) {
		return "", errors.New("user name has control characters")
	}
	return name, nil
}

// isCanonical tells of most names without ado that they are as they should be:
// those of printable ASCII without capitals and spaces.
func isCanonical(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return true
}
