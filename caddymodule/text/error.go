package text

// Kind says what is wrong with a value. The set is closed.
type Kind string

const (
	KindMissing     Kind = "missing"      // not there, or empty
	KindDuplicate   Kind = "duplicate"    // there more than once, as some receivers read names
	KindSyntax      Kind = "syntax"       // not in the format that it claims
	KindEncoding    Kind = "encoding"     // not UTF-8, or half a surrogate pair
	KindType        Kind = "type"         // no plain value, such as a file or a list
	KindCharacters  Kind = "characters"   // characters that do not show as what they are
	KindTooLong     Kind = "too_long"     // longer than the text may be
	KindTooMany     Kind = "too_many"     // too many fields, or too deep
	KindContentType Kind = "content_type" // a body in a format, charset or encoding that is not read
)

// FieldError says why a text cannot be made from a request. It names the field
// as the operator wrote it, and never its value, so it can be logged and shown.
type FieldError struct {
	// Field is for people: "form field amount", "request body", "text".
	Field string
	Kind  Kind
}

// Error names the field and what is wrong with it.
func (e *FieldError) Error() string {
	return e.Field + ": " + e.Kind.message()
}

func (k Kind) message() string {
	switch k {
	case KindMissing:
		return "is missing or empty"
	case KindDuplicate:
		return "is there more than once, or under a similar name"
	case KindSyntax:
		return "is not well-formed"
	case KindEncoding:
		return "is not valid UTF-8"
	case KindType:
		return "is not a single plain value"
	case KindCharacters:
		return "has characters that cannot be shown clearly, or spaces side by side or at its ends"
	case KindTooLong:
		return "is too long"
	case KindTooMany:
		return "has too many fields or levels"
	case KindContentType:
		return "must have one Content-Type that fits the text's fields, in UTF-8 and without Content-Encoding"
	default:
		return "is not acceptable"
	}
}
