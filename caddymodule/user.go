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
