package text

import (
	"encoding/binary"
	"errors"
	"strings"
)

// codeAlphabet has no vowels, so that codes do not spell words, and only one of
// each pair that people mistake for each other: 0 O, 1 I L, 2 Z, 5 S, 6 G, 8 B.
const codeAlphabet = "2345789CDFGHJKMNPQRTVWX"

const codeLength = 4

// seedLength gives each character 64 bits, so that taking the remainder favours
// no character by more than 2⁻⁵⁹.
const seedLength = codeLength * 8

// CheckCode returns the code of four characters that people compare between the
// page and the phone. It is a function of the first 32 bytes of seed, which
// should come from a keyed hash made for this purpose. It is no secret and no
// proof: it lets people see that a text on the phone belongs to their page.
// CheckCode panics when seed is shorter than 32 bytes.
func CheckCode(seed []byte) string {
	if len(seed) < seedLength {
		panic("text: seed for a check code is shorter than 32 bytes")
	}
	var code [codeLength]byte
	for i := range code {
		n := binary.BigEndian.Uint64(seed[8*i:])
		code[i] = codeAlphabet[n%uint64(len(codeAlphabet))]
	}
	return string(code[:])
}

// WithCode appends a code made by [CheckCode] to a text, in brackets. The error
// is a [*FieldError] when the text breaks the rules of [Check] or the code no
// longer fits: the code takes seven of the 130 characters.
func WithCode(text, code string) (string, error) {
	if len(code) != codeLength || strings.Trim(code, codeAlphabet) != "" {
		return "", errors.New("adding check code: not made by CheckCode")
	}
	if err := Check(text); err != nil {
		return "", err
	}
	text += " [" + code + "]"
	if err := Check(text); err != nil {
		return "", err
	}
	return text, nil
}
