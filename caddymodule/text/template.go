// Package text makes the text that a person reads in the MitID app before they
// approve a request. It is made from the bytes that will be forwarded, by
// parsers that refuse whatever two programs could read in two ways: repeated
// fields, odd escapes, other charsets. Values are shown literally. What does
// not fit or does not parse is refused; nothing is cut, mended or expanded.
//
// The package vouches for the names in the template. It cannot know of an
// application that takes a value from somewhere else, such as a path segment, a
// cookie, or a field of quite another name.
package text

import (
	"errors"
	"fmt"
	"strings"
)

// Template is an operator's text with placeholders. It does not change after
// [Parse] and may be used by several goroutines at once.
type Template struct {
	parts []part
	uses  map[source]bool
}

// part is a literal or a placeholder.
type part struct {
	source  source
	literal string   // for fromTemplate
	name    name     // the field, or the placeholder's whole name
	path    []string // for fromJSON: the steps into the document
}

// source is where the text of a part comes from. Its value is how the part is
// spelt in a template and what errors call it.
type source string

const (
	fromTemplate source = ""
	fromForm     source = "form"
	fromJSON     source = "json"
	fromQuery    source = "query"
	fromReplacer source = "placeholder"
)

// Source is what a text is made from: the parts of one request, exactly as they
// will be forwarded.
type Source struct {
	// ContentType and ContentEncoding are the values of these headers, one
	// element for each time the header was sent. A body that is read must have
	// one Content-Type and no Content-Encoding.
	ContentType     []string
	ContentEncoding []string

	// RawQuery is the query as sent, without the question mark.
	RawQuery string

	// Body is the whole body.
	Body []byte

	// Placeholder resolves every placeholder that does not begin with step_up.
	// and tells whether it is known. It is asked once for each occurrence; the
	// answer is shown as it is. It may be nil when the template has none.
	Placeholder func(name string) (string, bool)
}

// Parse reads an operator's template. Placeholders stand in braces; \{ and \}
// are literal braces.
//
//	{step_up.form.NAME}   field of an urlencoded or multipart form in the body
//	{step_up.json.PATH}   value in a JSON body; steps are separated by dots,
//	                      digits are an index into an array
//	{step_up.query.NAME}  parameter of the query
//	{NAME}                anything else, by [Source.Placeholder]
//
// The error tells what is wrong with the template and where.
func Parse(template string) (*Template, error) {
	t := &Template{uses: make(map[source]bool)}
	var literal strings.Builder
	least := 0 // length of the text when each value is one character
	flush := func() error {
		s := literal.String()
		literal.Reset()
		if s == "" {
			return nil
		}
		if kind := checkCharacters(s); kind != "" {
			return fmt.Errorf("parsing text: %q: %s", s, kind.message())
		}
		least += Length(s)
		t.parts = append(t.parts, part{literal: s})
		return nil
	}

	for rest := template; rest != ""; {
		switch {
		case strings.HasPrefix(rest, `\{`), strings.HasPrefix(rest, `\}`):
			literal.WriteByte(rest[1])
			rest = rest[2:]
		case rest[0] == '}':
			return nil, fmt.Errorf(`parsing text: } without { before %q; write \} for a brace`, rest[1:])
		case rest[0] == '{':
			inner, after, found := strings.Cut(rest[1:], "}")
			if !found || strings.ContainsAny(inner, `{\`) {
				return nil, fmt.Errorf(`parsing text: { is not closed in %q; write \{ for a brace`, rest)
			}
			if err := flush(); err != nil {
				return nil, err
			}
			p, err := parsePlaceholder(inner)
			if err != nil {
				return nil, err
			}
			t.parts = append(t.parts, p)
			t.uses[p.source] = true
			least++
			rest = after
		default:
			literal.WriteByte(rest[0])
			rest = rest[1:]
		}
	}
	if err := flush(); err != nil {
		return nil, err
	}

	switch {
	case len(t.parts) == 0:
		return nil, errors.New("parsing text: it is empty")
	case strings.HasPrefix(template, " ") || strings.HasSuffix(template, " "):
		return nil, errors.New("parsing text: remove the spaces at its ends")
	case least > MaxLength:
		return nil, fmt.Errorf("parsing text: shorten it, it has at least %d characters and %d are allowed", least, MaxLength)
	case t.uses[fromForm] && t.uses[fromJSON]:
		return nil, errors.New("parsing text: a body is a form or JSON, use either step_up.form or step_up.json")
	}
	return t, nil
}

// parsePlaceholder reads what stands between two braces.
func parsePlaceholder(s string) (part, error) {
	if kind := checkCharacters(s); kind != "" || s == "" {
		return part{}, fmt.Errorf("parsing text: %q is no name for a placeholder", s)
	}
	// Caddy's own placeholder takes the first of several parameters and
	// overlooks those that do not parse.
	if param, found := strings.CutPrefix(s, "http.request.uri.query."); found {
		return part{}, fmt.Errorf("parsing text: write {step_up.query.%s} for {%s}, which hides repeated parameters", param, s)
	}
	field, found := strings.CutPrefix(s, "step_up.")
	if !found {
		return part{source: fromReplacer, name: name{raw: s}}, nil
	}
	kind, field, _ := strings.Cut(field, ".")
	p := part{source: source(kind), name: newName(field)}
	switch p.source {
	case fromForm, fromQuery:
	case fromJSON:
		p.path = strings.Split(field, ".")
		for _, step := range p.path {
			if step == "" {
				return part{}, fmt.Errorf("parsing text: {%s} has an empty step between its dots", s)
			}
		}
		p.name = newName(p.path[0] + bracketed(p.path[1:]))
		p.name.raw = field
	default:
		return part{}, fmt.Errorf("parsing text: {%s} is unknown, use step_up.form.NAME, step_up.json.PATH or step_up.query.NAME", s)
	}
	if p.name.folded == "" {
		return part{}, fmt.Errorf("parsing text: {%s} needs a name with a letter or a digit", s)
	}
	return p, nil
}

// NeedsBody reports whether [Template.Render] has to see the body: the template
// uses form or json fields, or query fields, which a body could name again for
// an application that mixes both.
func (t *Template) NeedsBody() bool {
	return t.uses[fromForm] || t.uses[fromJSON] || t.uses[fromQuery]
}

// Placeholders returns the names that [Source.Placeholder] is asked for: what
// they stand for is not part of the request itself.
func (t *Template) Placeholders() []string {
	var names []string
	for _, p := range t.parts {
		if p.source == fromReplacer {
			names = append(names, p.name.raw)
		}
	}
	return names
}

// Render makes the text for one request. The same source gives the same text.
// The error is a [*FieldError].
func (t *Template) Render(src Source) (string, error) {
	in, err := t.read(src)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, p := range t.parts {
		if p.source == fromTemplate {
			b.WriteString(p.literal)
			continue
		}
		value, kind := in.value(p)
		if kind == "" {
			kind = checkText(value)
		}
		if kind != "" {
			return "", &FieldError{Field: p.String(), Kind: kind}
		}
		b.WriteString(value)
	}
	s := b.String()
	if err := Check(s); err != nil {
		return "", err
	}
	return s, nil
}

// String names a placeholder for people, without a value.
func (p part) String() string {
	switch p.source {
	case fromForm:
		return "form field " + p.name.raw
	case fromJSON:
		return "JSON field " + p.name.raw
	case fromQuery:
		return "query parameter " + p.name.raw
	default:
		return "placeholder " + p.name.raw
	}
}
