package text

import (
	"strings"
	"unicode/utf8"
)

// maxFields is how many fields a query or a form may have. PHP reads no more
// than 1000 by default, and would not see what comes after them.
const maxFields = 1000

// field is one name and value of a form or a query.
type field struct {
	name
	value string
	kind  Kind // why the value cannot be shown, "" where it can
}

// parseForm reads a form of either kind.
func parseForm(m mediaType, body []byte) ([]field, Kind) {
	if !m.utf8() {
		return nil, KindContentType
	}
	var (
		fields []field
		kind   Kind
	)
	if m.name == multipartForm {
		fields, kind = parseMultipart(body, m.params["boundary"])
	} else {
		fields, kind = parseURLEncoded(string(body))
	}
	if kind != "" {
		return nil, kind
	}
	for _, f := range fields {
		// A form may name its own charset (RFC 7578 §4.6).
		if strings.EqualFold(f.raw, "_charset_") && !strings.EqualFold(f.value, "utf-8") {
			return nil, KindContentType
		}
	}
	return fields, ""
}

// parseURLEncoded reads application/x-www-form-urlencoded. Only & separates: a
// semicolon, which some receivers take for a separator, must be escaped.
func parseURLEncoded(s string) ([]field, Kind) {
	if s == "" {
		return nil, ""
	}
	if strings.Count(s, "&") >= maxFields {
		return nil, KindTooMany
	}
	var fields []field
	for pair := range strings.SplitSeq(s, "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		key, kind := unescape(key)
		if kind != "" {
			return nil, kind
		}
		value, kind = unescape(value)
		if kind != "" {
			return nil, kind
		}
		fields = append(fields, field{name: newName(key), value: value})
	}
	return fields, ""
}

// unescape decodes one name or value. Bytes that may not stand unescaped, NUL in
// any form and what is not UTF-8 are refused.
func unescape(s string) (string, Kind) {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c < ' ' || c == 0x7F || c == ';':
			return "", KindSyntax
		case c == '+':
			c = ' '
		case c == '%':
			if i+2 >= len(s) {
				return "", KindSyntax
			}
			hi, ok1 := unhex(s[i+1])
			lo, ok2 := unhex(s[i+2])
			if !ok1 || !ok2 || hi<<4|lo == 0 {
				return "", KindSyntax
			}
			c = hi<<4 | lo
			i += 2
		}
		b.WriteByte(c)
	}
	if !utf8.ValidString(b.String()) {
		return "", KindEncoding
	}
	return b.String(), ""
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	default:
		return 0, false
	}
}

// only returns the value of the one field that is called n. A second one, or
// one that a receiver could take for it, is refused.
func only(fields []field, n name) (string, Kind) {
	var found *field
	for i := range fields {
		f := &fields[i]
		if !f.clashes(n) {
			continue
		}
		if found != nil || f.raw != n.raw {
			return "", KindDuplicate
		}
		found = f
	}
	if found == nil {
		return "", KindMissing
	}
	return found.value, found.kind
}

// among reports whether a field is called n, or could be taken for it.
func among(fields []field, n name) bool {
	for _, f := range fields {
		if f.clashes(n) {
			return true
		}
	}
	return false
}
