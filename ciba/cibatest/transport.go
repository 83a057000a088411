package cibatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// errDropped is what a client sees of a dropped connection.
var errDropped = errors.New("connection dropped by cibatest")

// Transport returns an [http.RoundTripper] that calls the server in-process, in
// the caller's goroutine and without a network, also inside a testing/synctest
// bubble. It stands for the issuer's scheme and host; requests to any other
// are refused as if nobody listened there. A cancelled context ends a call, and
// loses its answer, as over a network.
func (s *Server) Transport() http.RoundTripper { return transport{s} }

type transport struct{ s *Server }

// RoundTrip implements [http.RoundTripper].
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	body, err := readBody(req)
	if err != nil {
		return nil, fmt.Errorf("reading request body: %w", err)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if origin := req.URL.Scheme + "://" + req.URL.Host; origin != t.s.origin {
		return nil, fmt.Errorf("connecting to %s: cibatest serves %s only", origin, t.s.origin)
	}

	// What a server's handler sees of the request.
	r := req.Clone(ctx)
	r.URL = &url.URL{Path: req.URL.Path, RawPath: req.URL.RawPath, RawQuery: req.URL.RawQuery}
	r.RequestURI = req.URL.RequestURI()
	if r.Host == "" {
		r.Host = req.URL.Host
	}
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	r.RemoteAddr = "192.0.2.1:1234" // RFC 5737: for documentation
	r.Body, r.GetBody, r.ContentLength = io.NopCloser(bytes.NewReader(body)), nil, int64(len(body))

	w := &response{header: make(http.Header)}
	dropped := t.serve(w, r)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if dropped {
		return nil, errDropped
	}
	w.WriteHeader(http.StatusOK)
	if req.Method == http.MethodHead {
		w.body.Reset()
	}
	return &http.Response{
		Status:        fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)),
		StatusCode:    w.status,
		Proto:         r.Proto,
		ProtoMajor:    r.ProtoMajor,
		ProtoMinor:    r.ProtoMinor,
		Header:        w.sent,
		Body:          io.NopCloser(&w.body),
		ContentLength: int64(w.body.Len()),
		Request:       req,
	}, nil
}

func (t transport) serve(w http.ResponseWriter, r *http.Request) (dropped bool) {
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler:
			dropped = true
		default:
			panic(v)
		}
	}()
	t.s.ServeHTTP(w, r)
	return false
}

// readBody reads and closes, which a RoundTripper owes its caller.
func readBody(req *http.Request) ([]byte, error) {
	if req.Body == nil {
		return nil, nil
	}
	body, err := io.ReadAll(req.Body)
	return body, errors.Join(err, req.Body.Close())
}

// response is an [http.ResponseWriter] in memory.
type response struct {
	header http.Header // the handler's
	sent   http.Header // as it was when the status was written
	status int
	body   bytes.Buffer
}

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status, w.sent = status, w.header.Clone()
	}
}

func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}
