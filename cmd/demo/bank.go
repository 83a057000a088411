package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"sync"
	"time"
)

// bank is an application of the old kind: it trusts whoever reaches it.
type bank struct {
	http.Handler
	out io.Writer

	mu        sync.Mutex
	transfers []transfer
}

type transfer struct {
	At         time.Time
	Amount, To string
}

func newBank(out io.Writer) *bank {
	b := &bank{out: out}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", b.home)
	mux.HandleFunc("POST /transfers", b.transfer)
	mux.HandleFunc("GET /statements", b.statements)
	b.Handler = mux
	return b
}

//go:embed bank.html
var bankHTML string

var bankPage = template.Must(template.New("bank").Parse(bankHTML))

func (b *bank) home(w http.ResponseWriter, _ *http.Request) { b.render(w, false) }

func (b *bank) statements(w http.ResponseWriter, _ *http.Request) { b.render(w, true) }

func (b *bank) render(w http.ResponseWriter, statement bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	err := bankPage.Execute(w, map[string]any{"Statement": statement, "Transfers": b.transfers})
	if err != nil {
		fmt.Fprintln(b.out, "bank:", err)
	}
}

// transfer moves money, at once and without a question.
func (b *bank) transfer(w http.ResponseWriter, r *http.Request) {
	t := transfer{time.Now(), r.PostFormValue("amount"), r.PostFormValue("to")}
	b.mu.Lock()
	b.transfers = append(b.transfers, t)
	number := len(b.transfers)
	b.mu.Unlock()
	fmt.Fprintf(b.out, "bank: transfer %d: %q kr. to %q\n", number, t.Amount, t.To)
	if r.Header.Get("Sec-Fetch-Mode") == "navigate" {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, "transfer %d done\n", number)
}
