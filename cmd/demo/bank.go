package main

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
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
	documents []document
}

type transfer struct {
	At         time.Time
	Amount, To string
}

type document struct {
	Title, File string
	Size        int64
	SHA256      string
}

func newBank(out io.Writer) *bank {
	b := &bank{out: out}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", b.home)
	mux.HandleFunc("POST /transfers", b.transfer)
	mux.HandleFunc("POST /documents", b.document)
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
	err := bankPage.Execute(w, map[string]any{
		"Statement": statement,
		"Transfers": b.transfers,
		"Documents": b.documents,
	})
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
	done(w, r, fmt.Sprintf("transfer %d done\n", number))
}

// document keeps of a file what shows whether it arrived whole.
func (b *bank) document(w http.ResponseWriter, r *http.Request) {
	file, header, err := r.FormFile("file")
	if err != nil {
		http.Error(w, "the form has no file", http.StatusBadRequest)
		return
	}
	defer file.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, file)
	if err != nil {
		http.Error(w, "the file cannot be read", http.StatusInternalServerError)
		return
	}
	d := document{r.FormValue("title"), header.Filename, size, hex.EncodeToString(hash.Sum(nil))}
	b.mu.Lock()
	b.documents = append(b.documents, d)
	number := len(b.documents)
	b.mu.Unlock()
	fmt.Fprintf(b.out, "bank: document %d: %q, file %q, %d bytes, SHA-256 %s\n", number, d.Title, d.File, d.Size, d.SHA256)
	done(w, r, fmt.Sprintf("document %d received\n", number))
}

// done sends people back to the bank's page, and tells programs what was done.
func done(w http.ResponseWriter, r *http.Request, what string) {
	if r.Header.Get("Sec-Fetch-Mode") == "navigate" {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	w.WriteHeader(http.StatusCreated)
	io.WriteString(w, what)
}
