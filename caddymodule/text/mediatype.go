package text

import (
	"strings"
	"unicode/utf8"
)

const (
	urlEncodedForm = "application/x-www-form-urlencoded"
	multipartForm  = "multipart/form-data"
)

// mediaType is a header of the form "value; name=value; …", as Content-Type and
// Content-Disposition are.
type mediaType struct {
	name   string // in lower case
	params map[string]string
}

// parseMediaType reads a header strictly: no empty and no repeated parameters,
// no space around "=", and no backslash, which receivers undo in different ways.
func parseMediaType(s string) (mediaType, bool) {
	if !utf8.ValidString(s) {
		return mediaType{}, false
	}
	head, rest, more := strings.Cut(s, ";")
	m := mediaType{name: strings.ToLower(strings.Trim(head, " \t")), params: make(map[string]string)}
	for _, token := range strings.SplitN(m.name, "/", 2) {
		if !isToken(token) {
			return mediaType{}, false
		}
	}
	for more {
		var key, value string
		key, rest, more = strings.Cut(strings.TrimLeft(rest, " \t"), "=")
		if !more || !isToken(key) {
			return mediaType{}, false
		}
		if strings.HasPrefix(rest, `"`) {
			var closed bool
			value, rest, closed = strings.Cut(rest[1:], `"`)
			if !closed || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7F || r == '\\' }) {
				return mediaType{}, false
			}
			rest = strings.TrimLeft(rest, " \t")
			more = strings.HasPrefix(rest, ";")
			if rest != "" && !more {
				return mediaType{}, false
			}
			rest = strings.TrimPrefix(rest, ";")
		} else {
			value, rest, more = strings.Cut(rest, ";")
			value = strings.TrimRight(value, " \t")
			if !isToken(value) {
				return mediaType{}, false
			}
		}
		key = strings.ToLower(key)
		if _, again := m.params[key]; again {
			return mediaType{}, false
		}
		m.params[key] = value
	}
	return m, true
}

// utf8 reports whether the charset is UTF-8 or not named.
func (m mediaType) utf8() bool {
	charset, named := m.params["charset"]
	return !named || strings.EqualFold(charset, "utf-8")
}

// form reports whether the type is one of the two that forms are sent in.
func (m mediaType) form() bool {
	return m.name == urlEncodedForm || m.name == multipartForm
}

// json reports whether the type is JSON by RFC 8259 or the +json suffix.
func (m mediaType) json() bool {
	return m.name == "application/json" || strings.HasSuffix(m.name, "+json")
}

// isToken reports whether s is a token by RFC 9110 §5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}
