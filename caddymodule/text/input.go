package text

import (
	"bytes"
	"strings"
)

// input is a request, read as far as a template needs it.
type input struct {
	query, form []field
	json        []byte // a document that checkJSON found well, nil without one
	placeholder func(string) (string, bool)
}

// read parses the query and the body. Both are parsed when either is used,
// because many receivers put the parameters of both into one list, and differ
// on which one wins.
func (t *Template) read(src Source) (*input, error) {
	in := &input{placeholder: src.Placeholder}
	if !t.NeedsBody() {
		return in, nil
	}
	var kind Kind
	if in.query, kind = parseQuery(src.RawQuery); kind != "" {
		return nil, &FieldError{Field: "query", Kind: kind}
	}
	if kind = t.readBody(in, src); kind != "" {
		return nil, &FieldError{Field: "request body", Kind: kind}
	}
	return in, nil
}

func (t *Template) readBody(in *input, src Source) Kind {
	used := t.uses[fromForm] || t.uses[fromJSON]
	if len(src.Body) == 0 && !used {
		return ""
	}
	if len(src.ContentType) != 1 || len(src.ContentEncoding) > 0 {
		return KindContentType
	}
	m, ok := parseMediaType(src.ContentType[0])
	if !ok || !strings.Contains(m.name, "/") {
		return KindContentType
	}
	var kind Kind
	switch {
	case m.form() && !t.uses[fromJSON]:
		in.form, kind = parseForm(m, src.Body)
	case m.json() && !t.uses[fromForm]:
		if !m.utf8() {
			return KindContentType
		}
		in.json, kind = src.Body, checkJSON(src.Body)
	case used:
		kind = KindContentType
	case strings.HasPrefix(m.name, "multipart/") || strings.HasSuffix(m.name, "json"):
		// Some receivers read these like the types above.
		kind = KindContentType
	}
	return kind
}

// value returns what a placeholder stands for.
func (in *input) value(p part) (string, Kind) {
	switch p.source {
	case fromForm:
		if among(in.query, p.name) {
			return "", KindDuplicate
		}
		return only(in.form, p.name)
	case fromJSON:
		if among(in.query, p.name) {
			return "", KindDuplicate
		}
		return jsonValue(in.json, p.path)
	case fromQuery:
		if among(in.form, p.name) || in.jsonNames(p.name) {
			return "", KindDuplicate
		}
		return only(in.query, p.name)
	default:
		if in.placeholder == nil {
			return "", KindMissing
		}
		value, known := in.placeholder(p.name.raw)
		if !known {
			return "", KindMissing
		}
		return value, ""
	}
}

// jsonNames reports whether the JSON body is an object with a member that could
// be taken for the parameter n.
func (in *input) jsonNames(n name) bool {
	doc := bytes.TrimLeft(in.json, " \t\r\n")
	if len(doc) == 0 || doc[0] != '{' {
		return false
	}
	for key := range members(doc) {
		if newName(key).clashes(n) {
			return true
		}
	}
	return false
}
