package caddymodule

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// controlForm is what the forms and links of a waiting page send.
var controlForm = regexp.MustCompile(`^step_up=(continue|restart|cancel)&step_up_approval=([A-Za-z0-9._-]{1,128})$`)

// maxControl is the length of the longest control.
const maxControl = 192

// takeControl reads a control that came with a request, from the end of the
// query or as the whole of a form, and takes it out of the request.
func (s *signals) takeControl(r *http.Request) error {
	var found []string
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		_, control := cutControl(originalURL(r).RawQuery)
		if control == "" {
			return nil
		}
		found = controlForm.FindStringSubmatch(control)
		// A rewrite may have put it anywhere, or left it out.
		if i := strings.LastIndex(r.URL.RawQuery, control); i >= 0 {
			before, after := r.URL.RawQuery[:i], r.URL.RawQuery[i+len(control):]
			r.URL.RawQuery = strings.TrimSuffix(before, "&") + after
		}
	case http.MethodPost:
		if !isForm(r) || r.ContentLength <= 0 || r.ContentLength > maxControl {
			return nil
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, maxControl))
		if err != nil {
			return err
		}
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(body), r.Body), r.Body}
		if found = controlForm.FindStringSubmatch(string(body)); found == nil {
			return nil
		}
	default:
		return nil
	}
	s.action, s.handle = found[1], found[2]
	if s.action == controlRestart {
		s.restart, _, _ = strings.Cut(s.handle, ".")
	}
	return nil
}

// The controls.
const (
	controlContinue = "continue"
	controlRestart  = "restart"
	controlCancel   = "cancel"
)

// cutControl splits the control off a raw query; it is empty where there is
// none.
func cutControl(query string) (rest, control string) {
	i := strings.LastIndex(query, "step_up=")
	switch {
	case i < 0 || i > 0 && query[i-1] != '&' || !controlForm.MatchString(query[i:]):
		return query, ""
	case i == 0:
		return "", query
	}
	return query[:i-1], query[i:]
}

// originalURL is the URL as the client sent it: what was rewritten on the way
// here is rewritten again when the client comes back.
func originalURL(r *http.Request) *url.URL {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && original.URL != nil {
		return original.URL
	}
	return r.URL
}

// controlLink is the link that sends a control from a page of a GET request.
func controlLink(query, action, handle string) string {
	control := "step_up=" + action + "&step_up_approval=" + handle
	if query == "" {
		return "?" + control
	}
	return "?" + query + "&" + control
}

func isForm(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
}
