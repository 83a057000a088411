package text

import (
	"bytes"
	"strings"
)

// parseMultipart reads multipart/form-data (RFC 7578) in the one form that all
// receivers read alike, which is the one that browsers send: nothing before the
// first boundary or after the last, CRLF at each line's end, the boundary only
// where it divides, and of headers only Content-Disposition and Content-Type.
func parseMultipart(body []byte, boundary string) ([]field, Kind) {
	if !isBoundary(boundary) {
		return nil, KindContentType
	}
	delimiter := []byte("--" + boundary)
	if bytes.Count(body, delimiter) > maxFields+1 {
		return nil, KindTooMany
	}
	chunks := bytes.Split(body, delimiter)
	last := len(chunks) - 1
	if last < 1 || len(chunks[0]) > 0 || !closing(chunks[last]) {
		return nil, KindSyntax
	}
	var fields []field
	for _, chunk := range chunks[1:last] {
		f, kind := parsePart(chunk)
		if kind != "" {
			return nil, kind
		}
		fields = append(fields, f)
	}
	return fields, ""
}

// closing reports whether b is what follows the last boundary.
func closing(b []byte) bool {
	return string(b) == "--\r\n" || string(b) == "--"
}

// parsePart reads what stands between two boundaries, with the line ends that
// belong to them.
func parsePart(chunk []byte) (field, Kind) {
	chunk, ok1 := bytes.CutPrefix(chunk, []byte("\r\n"))
	head, value, ok2 := bytes.Cut(chunk, []byte("\r\n\r\n"))
	value, ok3 := bytes.CutSuffix(value, []byte("\r\n"))
	if !ok1 || !ok2 || !ok3 {
		return field{}, KindSyntax
	}

	headers := make(map[string]mediaType)
	for line := range strings.SplitSeq(string(head), "\r\n") {
		key, val, found := strings.Cut(line, ":")
		key = strings.ToLower(key)
		if _, again := headers[key]; !found || again || key != "content-disposition" && key != "content-type" {
			return field{}, KindSyntax
		}
		m, ok := parseMediaType(val)
		if !ok {
			return field{}, KindSyntax
		}
		headers[key] = m
	}

	disposition := headers["content-disposition"]
	if disposition.name != "form-data" {
		return field{}, KindSyntax
	}
	fieldName, named := disposition.params["name"]
	_, file := disposition.params["filename"]
	// What else is there, such as filename*, some receivers prefer. Some undo
	// %22 in names as browsers write it, others do not.
	if !named || len(disposition.params) > 2 || len(disposition.params) == 2 && !file || strings.Contains(fieldName, "%") {
		return field{}, KindSyntax
	}

	f := field{name: newName(fieldName)}
	switch m, typed := headers["content-type"]; {
	case typed && !strings.Contains(m.name, "/"):
		return field{}, KindSyntax
	case strings.HasPrefix(m.name, "multipart/"):
		return field{}, KindSyntax
	case file:
		f.kind = KindType
	case typed && (m.name != "text/plain" || !m.utf8()):
		f.kind = KindContentType
	default:
		f.value = string(value)
	}
	return f, ""
}

// isBoundary reports whether s is a boundary by RFC 2046 §5.1.1, without the
// space and the comma, at which some receivers end it.
func isBoundary(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !alnum && !strings.ContainsRune("'()+_-./:=?", rune(c)) {
			return false
		}
	}
	return 0 < len(s) && len(s) <= 70
}
