package caddymodule

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

var errBodyTooLarge = errors.New("body is larger than max_body")

// readBody reads the whole body, so that what is approved is what is sent, and
// puts it back in its place. It takes room for what it reads.
func readBody(r *http.Request, limit int64, take func(n int64) bool) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, errBodyTooLarge
	}
	body, err := io.ReadAll(roomy{io.LimitReader(r.Body, limit+1), take})
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) || int64(len(body)) > limit {
		return nil, errBodyTooLarge
	}
	if err != nil {
		return nil, err
	}
	if cap(body)-len(body) > len(body)/8 {
		// A small one lies in the first half KiB of ReadAll, and may have to wait
		// for long.
		body = bytes.Clone(body)
	}
	setBody(r, body)
	return body, nil
}

// setBody makes body the request's, to be sent with its length.
func setBody(r *http.Request, body []byte) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
	r.Body = http.NoBody
	if len(body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	r.ContentLength = int64(len(body))
	r.TransferEncoding = nil
	r.Header.Del("Transfer-Encoding")
	r.Header.Del("Content-Length")
	if len(body) > 0 || r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
		r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	}
}

// meaningful are the headers, folded, that change what a request does: how its
// body is read, and for some applications which method, path and host it has.
// What is approved is bound to them.
var meaningful = map[string]bool{
	"content-type": true, "content-encoding": true, "content-range": true,
	"x-http-method-override": true, "x-http-method": true, "x-method-override": true,
	"x-original-method": true, "x-forwarded-method": true,
	"x-original-url": true, "x-original-uri": true, "x-rewrite-url": true,
	"soapaction": true, "upgrade": true, "x-forwarded-uri": true, "x-forwarded-prefix": true, "x-original-host": true,
}

// meaningfulHeaders are those of a request, in every spelling that something
// behind could take for them.
func meaningfulHeaders(h http.Header) http.Header {
	found := make(http.Header)
	for name, values := range h {
		if isMeaningful(name) {
			found[name] = values
		}
	}
	return found
}

// isMeaningful tells whether a server that folds case, underscores and dots
// could take a header for one of those.
func isMeaningful(name string) bool {
	var folded [longestMeaningful]byte
	if len(name) > len(folded) {
		return false
	}
	for i := range len(name) {
		folded[i] = foldByte(name[i])
	}
	return meaningful[string(folded[:len(name)])]
}

// longestMeaningful is the length of the longest of them.
const longestMeaningful = len("x-http-method-override")

// foldByte is a byte of a header's name as such a server reads it.
func foldByte(c byte) byte {
	switch {
	case c == '_' || c == '.':
		return '-'
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	}
	return c
}

// fingerprint is a hash over everything that makes this request another one
// than any other.
//
// shown are values that are shown on the phone and come from elsewhere, such as
// other headers: the request is another one when they are.
func fingerprint(r *http.Request, body []byte, shown ...string) []byte {
	h := sha256.New()
	var length [8]byte
	count := func(n int) {
		binary.BigEndian.PutUint64(length[:], uint64(n))
		h.Write(length[:])
	}
	add := func(part string) {
		count(len(part))
		io.WriteString(h, part)
	}
	add(r.Method)
	add(scheme(r))
	add(r.Host)
	add(r.URL.EscapedPath())
	add(rawQuery(r))
	headers := meaningfulHeaders(r.Header)
	count(len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		add(name)
		count(len(headers[name]))
		for _, value := range headers[name] {
			add(value)
		}
	}
	count(len(shown))
	for _, value := range shown {
		add(value)
	}
	h.Write(body)
	return h.Sum(nil)
}

// rawQuery is the query with its question mark, as it is sent on.
func rawQuery(r *http.Request) string {
	if r.URL.RawQuery == "" && !r.URL.ForceQuery {
		return ""
	}
	return "?" + r.URL.RawQuery
}
