package text

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	maxDepth  = 64 // of objects and arrays in each other
	maxNumber = 40 // characters of a number
)

// checkJSON returns what is wrong with a document as a whole, or "". It closes
// what encoding/json lets through: invalid UTF-8 and half surrogate pairs, which
// it replaces, NUL, at which receivers in C end a string, and depth.
func checkJSON(body []byte) Kind {
	switch {
	case !utf8.Valid(body):
		return KindEncoding
	case !json.Valid(body):
		return KindSyntax
	}
	depth, inString := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '"':
			inString = !inString
		case c == '\\' && body[i+1] == 'u':
			r := escaped(body[i:])
			i += 5
			if r == 0 {
				return KindCharacters
			}
			if !utf16.IsSurrogate(r) {
				continue
			}
			if utf16.DecodeRune(r, escaped(body[i+1:])) == utf8.RuneError {
				return KindEncoding
			}
			i += 6
		case c == '\\':
			i++
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return KindTooMany
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return ""
}

// escaped returns the code unit of the \uXXXX that b starts with, or -1.
func escaped(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}

// jsonValue returns the text of the value at path in a document that
// [checkJSON] found well.
func jsonValue(doc []byte, path []string) (string, Kind) {
	for _, step := range path {
		var kind Kind
		switch doc = bytes.TrimLeft(doc, " \t\r\n"); doc[0] {
		case '{':
			doc, kind = member(doc, step)
		case '[':
			doc, kind = element(doc, step)
		default:
			kind = KindMissing
		}
		if kind != "" {
			return "", kind
		}
	}
	return scalar(bytes.Trim(doc, " \t\r\n"))
}

// member returns the value of the one member called key. The object may have no
// two members whose names differ at most in case.
func member(object []byte, key string) ([]byte, Kind) {
	var value []byte
	seen := make(map[string]bool)
	for name, v := range members(object) {
		folded := foldCase(name)
		if seen[folded] {
			return nil, KindDuplicate
		}
		seen[folded] = true
		if name == key {
			value = v
		}
	}
	switch {
	case value != nil:
		return value, ""
	case seen[foldCase(key)]:
		// Only under another case, which the receiver may take for it or not.
		return nil, KindDuplicate
	default:
		return nil, KindMissing
	}
}

// members yields the members of an object as they stand.
func members(object []byte) func(yield func(string, []byte) bool) {
	return func(yield func(string, []byte) bool) {
		dec := json.NewDecoder(bytes.NewReader(object))
		if _, err := dec.Token(); err != nil {
			return
		}
		for dec.More() {
			var value json.RawMessage
			key, err := dec.Token()
			if err != nil || dec.Decode(&value) != nil || !yield(key.(string), value) {
				return
			}
		}
	}
}

// element returns the element of an array at an index in digits.
func element(array []byte, index string) ([]byte, Kind) {
	n, err := strconv.Atoi(index)
	if err != nil || strconv.Itoa(n) != index {
		return nil, KindMissing
	}
	var values []json.RawMessage
	if err := json.Unmarshal(array, &values); err != nil {
		return nil, KindSyntax
	}
	if n < 0 || n >= len(values) {
		return nil, KindMissing
	}
	return values[n], ""
}

// scalar returns a value as it is shown: strings without their quotes, numbers
// and booleans exactly as they were sent. Numbers with an exponent are refused,
// because few people read them right.
func scalar(raw []byte) (string, Kind) {
	switch c := raw[0]; {
	case c == '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return "", KindSyntax
		}
		return s, ""
	case c == 't' || c == 'f':
		return string(raw), ""
	case c != '-' && (c < '0' || c > '9'):
		return "", KindType
	case len(raw) > maxNumber:
		return "", KindTooLong
	case strings.ContainsAny(string(raw), "eE"):
		return "", KindType
	default:
		return string(raw), ""
	}
}
