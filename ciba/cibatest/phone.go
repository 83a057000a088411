package cibatest

import (
	_ "embed"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"slices"
	"strings"
)

//go:embed phone.html
var phoneHTML string

//go:embed phone.css
var phoneCSS []byte

var phoneTemplate = template.Must(template.New("phone").Funcs(template.FuncMap{"heading": heading}).Parse(phoneHTML))

// phonePolicy lets the page load its style sheet and send its forms, no more.
const phonePolicy = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// heading is what the phone says above the text.
func heading(action string) string {
	switch action {
	case "LOG_ON":
		return "Log on"
	case "CONFIRM":
		return "Confirm"
	case "ACCEPT":
		return "Accept"
	case "SIGN":
		return "Sign"
	default:
		return "Approve"
	}
}

// phone serves everything below /sim/. Pages of other origins cannot decide for
// the person in front of this one.
func (s *Server) phone() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sim/{$}", func(w http.ResponseWriter, _ *http.Request) { s.writePhone(w, http.StatusOK, "") })
	mux.HandleFunc("GET /sim/phone.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		_, _ = w.Write(phoneCSS)
	})
	mux.HandleFunc("GET /sim/requests", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("all") == "1" {
			writeJSON(w, s.Requests())
			return
		}
		writeJSON(w, s.waiting())
	})
	mux.HandleFunc("GET /sim/log", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Log()) })
	mux.HandleFunc("POST /sim/requests/{id}/approve", s.decision(s.Approve))
	mux.HandleFunc("POST /sim/requests/{id}/deny", s.decision(s.Deny))
	return http.NewCrossOriginProtection().Handler(mux)
}

func (s *Server) waiting() []Request {
	return slices.DeleteFunc(s.Requests(), func(q Request) bool { return q.State != StateWaiting })
}

// decision serves a button, or a program that presses it.
func (s *Server) decision(decide func(id string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := decide(r.PathValue("id"))
		browser := strings.Contains(r.Header.Get("Accept"), "text/html")
		status := http.StatusNoContent
		switch {
		case errors.Is(err, ErrUnknownRequest):
			status = http.StatusNotFound
		case err != nil:
			status = http.StatusConflict
		}
		switch {
		case browser && err == nil:
			http.Redirect(w, r, "/sim/", http.StatusSeeOther)
		case browser:
			s.writePhone(w, status, "That request is no longer waiting.")
		case err == nil:
			w.WriteHeader(status)
		default:
			http.Error(w, err.Error(), status)
		}
	}
}

// writePhone writes the page. With requests on it, it comes again less often,
// so that it does not take a button away from under a finger or a focus.
func (s *Server) writePhone(w http.ResponseWriter, status int, notice string) {
	data := struct {
		Notice   string
		Requests []Request
		Refresh  int // seconds
	}{notice, s.waiting(), 3}
	if len(data.Requests) > 0 || notice != "" {
		data.Refresh = 15
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", phonePolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	// With no-referrer a browser would send "Origin: null" with the forms.
	h.Set("Referrer-Policy", "same-origin")
	w.WriteHeader(status)
	_ = phoneTemplate.Execute(w, data) // the template is tested; what is left is who went away
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // who went away does not want it
}
