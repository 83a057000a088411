package page

import "golang.org/x/text/language"

// Language is a language that pages are written in.
type Language string

// The languages of the pages.
const (
	Danish  Language = "da"
	English Language = "en"
)

// tables holds the words of every language.
var tables = map[Language]*words{
	Danish:  &danish,
	English: &english,
}

// maxAcceptLanguage bounds the work that a client can cause, in bytes.
const maxAcceptLanguage = 1024

// Match chooses the language for the value of an Accept-Language header
// (RFC 9110 §12.5.4). Readers of Norwegian, Swedish, Faroese and Greenlandic
// get Danish. English is for everybody whose list names no language that
// matches, and for a header that is empty, cannot be parsed or is longer than
// any browser's.
func Match(acceptLanguage string) Language {
	if len(acceptLanguage) > maxAcceptLanguage {
		return English
	}
	tags, _, err := language.ParseAcceptLanguage(acceptLanguage)
	if err != nil {
		return English
	}
	for _, tag := range tags {
		base, _ := tag.Base()
		switch base.String() {
		case "da", "no", "nb", "nn", "sv", "fo", "kl":
			return Danish
		case "en":
			return English
		}
	}
	return English
}

// DefaultText is the text on the phone where the operator has configured none:
// the method, the host and the path of the request. It is neither cut nor
// checked; what is too long for the phone, or holds characters that it must
// not show, is for the caller to refuse.
func DefaultText(l Language, method, host, path string) string {
	w := tables[l]
	if w == nil {
		w = &english
	}
	return w.Approve + ": " + method + " " + host + path
}
