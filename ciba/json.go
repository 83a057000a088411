package ciba

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"time"
	"unicode/utf8"
)

// jsonValue is the text of a JSON value, nil where there is none.
type jsonValue json.RawMessage

// parseObject splits a JSON object into its members. Unlike encoding/json it
// refuses an object that has a name twice, and tells Error from error: what two
// readers could understand differently is no answer to act upon.
func parseObject(data []byte) (map[string]jsonValue, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("answer is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("answer is not a JSON object")
	}
	members := make(map[string]jsonValue)
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, errors.New("answer is broken JSON")
		}
		name := t.(string) // the decoder lets nothing else be a name
		if _, ok := members[name]; ok {
			return nil, errors.New("answer has a member twice")
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, errors.New("answer is broken JSON")
		}
		members[name] = jsonValue(raw)
	}
	if _, err := dec.Token(); err != nil {
		return nil, errors.New("answer is broken JSON")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("answer has something after its JSON object")
	}
	return members, nil
}

// text is the value of a JSON string.
func (v jsonValue) text() (string, bool) {
	if len(v) == 0 || v[0] != '"' {
		return "", false
	}
	var s string
	err := json.Unmarshal(v, &s)
	return s, err == nil
}

// texts are the values of an array of strings.
func (v jsonValue) texts() ([]string, bool) {
	if len(v) == 0 || v[0] != '[' {
		return nil, false
	}
	var raw []json.RawMessage
	if json.Unmarshal(v, &raw) != nil {
		return nil, false
	}
	list := make([]string, len(raw))
	for i, r := range raw {
		s, ok := jsonValue(r).text()
		if !ok {
			return nil, false
		}
		list[i] = s
	}
	return list, true
}

// seconds is the value of a JSON number, or of a string that holds one, as some
// providers send it.
func (v jsonValue) seconds() (float64, bool) {
	number := []byte(v)
	if s, ok := v.text(); ok {
		number = []byte(s)
	}
	var f *float64
	if json.Unmarshal(number, &f) != nil || f == nil {
		return 0, false
	}
	return *f, true
}

// maxLifetime bounds the lifetimes and intervals that a provider may name.
const maxLifetime = 24 * time.Hour

// lifetime is a number of seconds, rounded down to whole ones and cut to
// maxLifetime; 0 where there is no such number or it is negative.
func (v jsonValue) lifetime() time.Duration {
	f, _ := v.seconds()
	return time.Duration(math.Floor(min(max(f, 0), maxLifetime.Seconds()))) * time.Second
}

// maxDate is the end of the year 9999: later dates are not meant as dates.
const maxDate = 253402300799

// date is a NumericDate (RFC 7519 §2) of whole seconds, not before 1970.
func (v jsonValue) date() (time.Time, bool) {
	if len(v) == 0 || len(v) > 12 {
		return time.Time{}, false
	}
	var n int64
	for _, b := range v {
		if b < '0' || b > '9' {
			return time.Time{}, false
		}
		n = n*10 + int64(b-'0')
	}
	return time.Unix(n, 0), n <= maxDate
}
