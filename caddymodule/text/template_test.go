package text

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	urlEncoded = "application/x-www-form-urlencoded"
	jsonType   = "application/json"
)

// form is a request with an urlencoded body.
func form(body string) Source {
	return Source{ContentType: []string{urlEncoded}, Body: []byte(body)}
}

// document is a request with a JSON body.
func document(body string) Source {
	return Source{ContentType: []string{jsonType}, Body: []byte(body)}
}

// mustParse parses a template that is good.
func mustParse(t testing.TB, template string) *Template {
	t.Helper()
	tmpl, err := Parse(template)
	if err != nil {
		t.Fatalf("Parse(%q): %v", template, err)
	}
	return tmpl
}

// kindOf returns the kind of err, "" for none.
func kindOf(t testing.TB, err error) Kind {
	t.Helper()
	if err == nil {
		return ""
	}
	fe, ok := errors.AsType[*FieldError](err)
	if !ok {
		t.Fatalf("error %v is no *FieldError", err)
	}
	return fe.Kind
}

// renderCase is one request and what its text must be, or why there is none.
type renderCase struct {
	name     string
	template string
	src      Source
	want     string
	kind     Kind
}

func runRender(t *testing.T, cases []renderCase) {
	t.Helper()
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Helper()
			got, err := mustParse(t, tc.template).Render(tc.src)
			if kind := kindOf(t, err); got != tc.want || kind != tc.kind {
				t.Errorf("Render = %q, %q; want %q, %q", got, kind, tc.want, tc.kind)
			}
		})
	}
}

func TestRender(t *testing.T) {
	host := func(name string) (string, bool) {
		return "bank.example.dk", name == "http.request.host"
	}
	runRender(t, []renderCase{
		{
			name:     "form",
			template: "Betal {step_up.form.amount} kr. til {step_up.form.to}",
			src:      form("amount=1.000%2C50&to=S%C3%B8ren+%26+Co&csrf=a%3Db"),
			want:     "Betal 1.000,50 kr. til Søren & Co",
		},
		{
			name:     "JSON",
			template: "Betal {step_up.json.amount.value} {step_up.json.amount.currency} til {step_up.json.to.0.name}",
			src:      document(`{"amount":{"value":100.50,"currency":"DKK"},"to":[{"name":"S\u00f8ren"}]}`),
			want:     "Betal 100.50 DKK til Søren",
		},
		{
			name:     "query",
			template: "Slet konto {step_up.query.id}",
			src:      Source{RawQuery: "id=4711&why=moved+away"},
			want:     "Slet konto 4711",
		},
		{
			name:     "other placeholder",
			template: "Log på {http.request.host}",
			src:      Source{Placeholder: host},
			want:     "Log på bank.example.dk",
		},
		{
			name:     "unknown placeholder",
			template: "Log på {http.request.hots}",
			src:      Source{Placeholder: host},
			kind:     KindMissing,
		},
		{
			name:     "no placeholder function",
			template: "Log på {http.request.host}",
			kind:     KindMissing,
		},
		{
			name:     "escaped braces",
			template: `\{ikke\} {step_up.form.a} \ slut`,
			src:      form("a=1"),
			want:     `{ikke} 1 \ slut`,
		},
		{
			name:     "literal only, body not read",
			template: "Godkend 🔑",
			src:      Source{ContentType: []string{"nonsense"}, Body: []byte("\xff"), RawQuery: ";;%"},
			want:     "Godkend 🔑",
		},
	})
}

// A value that looks like a placeholder must not bring secrets to the phone, nor
// braces that the template escaped (CVE-2026-30852).
func TestValue_isNeverExpanded(t *testing.T) {
	resolve := func(name string) (string, bool) {
		switch name {
		case "http.request.header.Note":
			return "{env.SECRET}", true
		case "env.SECRET":
			return "s3cret", true
		default:
			return "", false
		}
	}
	for _, value := range []string{
		"{env.SECRET}", "{http.request.header.Note}", "{step_up.form.to}", `\{env.SECRET\}`, "{{env.SECRET}}", "{", "}",
	} {
		escaped := strings.NewReplacer("{", "%7B", "}", "%7D", `\`, "%5C").Replace(value)
		for _, tc := range []struct {
			template, want string
			src            Source
		}{
			{"A {step_up.form.a} B", "A " + value + " B", form("to=x&a=" + escaped)},
			{"A {step_up.query.a} B", "A " + value + " B", Source{RawQuery: "to=x&a=" + escaped}},
			{"A {step_up.json.a} B", "A " + value + " B", document(`{"a":"` + strings.ReplaceAll(value, `\`, `\\`) + `"}`)},
			{"A {http.request.header.Note} B", "A {env.SECRET} B", Source{}},
			{`\{env.SECRET\} {step_up.form.a}`, "{env.SECRET} " + value, form("a=" + escaped)},
		} {
			tc.src.Placeholder = resolve
			got, err := mustParse(t, tc.template).Render(tc.src)
			if err != nil || got != tc.want {
				t.Errorf("%q with %q: got %q, %v; want %q", tc.template, value, got, err, tc.want)
			}
		}
	}
}

// What the template names is asked for once: a second answer could differ.
func TestPlaceholder_isResolvedOnce(t *testing.T) {
	asked := map[string]int{}
	src := Source{Placeholder: func(name string) (string, bool) {
		asked[name]++
		return "{b}", true
	}}
	if _, err := mustParse(t, "{a} og {c}").Render(src); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"a": 1, "c": 1}, asked); diff != "" {
		t.Error(diff)
	}
}

// A long value could push what follows it out of sight (GHSA-xww8-gqvh-92x9).
func TestText_isNeverCut(t *testing.T) {
	fit := strings.Repeat("x", MaxLength-len("Til "))
	runRender(t, []renderCase{
		{"130 characters", "Til {step_up.form.a}", form("a=" + fit), "Til " + fit, ""},
		{"131 characters", "Til {step_up.form.a}", form("a=" + fit + "x"), "", KindTooLong},
		{"131 characters by two values", "{step_up.form.a} {step_up.form.b}", form("b=" + fit + "&a=" + fit), "", KindTooLong},
		{"10 kB field", "Til {step_up.form.a}", form("a=" + strings.Repeat("x", 10_000)), "", KindTooLong},
		{"10 kB JSON field", "Til {step_up.json.a}", document(`{"a":"` + strings.Repeat("x", 10_000) + `"}`), "", KindTooLong},
	})
}

// Empty values would leave a sentence that says something else.
func TestRender_refusesEmptyValue(t *testing.T) {
	runRender(t, []renderCase{
		{"form", "A{step_up.form.a}", form("a="), "", KindMissing},
		{"form without =", "A{step_up.form.a}", form("a"), "", KindMissing},
		{"query", "A{step_up.query.a}", Source{RawQuery: "a="}, "", KindMissing},
		{"JSON", "A{step_up.json.a}", document(`{"a":""}`), "", KindMissing},
		{"placeholder", "A{a}", Source{Placeholder: func(string) (string, bool) { return "", true }}, "", KindMissing},
	})
}

// Errors are logged and shown: they name what the operator wrote, not what the
// client sent.
func TestFieldError_namesFieldNeverValue(t *testing.T) {
	const secret = "hemmeligt"
	for _, tc := range []struct {
		template string
		src      Source
		want     string
	}{
		{"{step_up.form.to}", form("to=" + secret + "&to=" + secret), "form field to: is there more than once, or under a similar name"},
		{"{step_up.form.to}", form(secret + "=%"), "request body: is not well-formed"},
		{"{step_up.json.a.b}", document(`{"a":{"b":["` + secret + `"]}}`), "JSON field a.b: is not a single plain value"},
		{"{step_up.query.to}", Source{RawQuery: "to=" + secret + "%00"}, "query: is not well-formed"},
		{"{step_up.query.to}", Source{RawQuery: "to=" + secret + "%7F"}, "query parameter to: has characters that cannot be shown clearly, or spaces side by side or at its ends"},
		{"{x.y}", Source{Placeholder: func(string) (string, bool) { return secret + "\xff", true }}, "placeholder x.y: is not valid UTF-8"},
		{
			"{step_up.form.a}{step_up.form.b}", form("a=" + strings.Repeat("x", 100) + "&b=" + strings.Repeat("x", 100)),
			"text: is too long",
		},
	} {
		_, err := mustParse(t, tc.template).Render(tc.src)
		if err == nil || err.Error() != tc.want {
			t.Errorf("%s: got %v, want %s", tc.template, err, tc.want)
		}
	}
}

func TestKind_hasMessage(t *testing.T) {
	seen := map[string]Kind{Kind("other").message(): "other"}
	for _, k := range []Kind{
		KindMissing, KindDuplicate, KindSyntax, KindEncoding, KindType, KindCharacters, KindTooLong, KindTooMany, KindContentType,
	} {
		if other, again := seen[k.message()]; again {
			t.Errorf("%q has the message of %q", k, other)
		}
		seen[k.message()] = k
	}
}

func TestParse_refuses(t *testing.T) {
	for _, tc := range []struct{ name, template, want string }{
		{"empty text", "", "it is empty"},
		{"open brace", "Betal {step_up.form.amount", "is not closed"},
		{"closing brace", "Betal step_up.form.amount}", "} without {"},
		{"brace in braces", "{a{b}}", "is not closed"},
		{"escaped brace in braces", `{a\}b}`, "is not closed"},
		{"empty placeholder", "a {} b", "no name"},
		{"newline in placeholder", "{a\nb}", "no name"},
		{"unknown kind", "{step_up.from.amount}", "is unknown"},
		{"step_up alone", "{step_up.}", "is unknown"},
		{"form without name", "{step_up.form}", "needs a name"},
		{"form with empty name", "{step_up.form.}", "needs a name"},
		{"name without letters", "{step_up.form.__}", "needs a name"},
		{"query with empty name", "{step_up.query.}", "needs a name"},
		{"JSON without path", "{step_up.json}", "empty step"},
		{"empty JSON step", "{step_up.json.a..b}", "empty step"},
		{"JSON ends in dot", "{step_up.json.a.}", "empty step"},
		{"form and JSON", "{step_up.form.a} {step_up.json.a}", "use either"},
		{"lenient query placeholder", "{http.request.uri.query.amount}", "write {step_up.query.amount}"},
		{"literal too long", strings.Repeat("x", 131), "shorten it"},
		{"literal without room for the value", strings.Repeat("x", 130) + "{a}", "shorten it"},
		{"control character", "Betal\t{a}", "characters"},
		{"bidi override", "Betal \u202e{a}", "characters"},
		{"two spaces", "Betal  {a}", "characters"},
		{"space at start", " {a}", "spaces at its ends"},
		{"space at end", "{a} ", "spaces at its ends"},
		{"mark on the value before", "{a}\u0338", "characters"},
		{"invalid UTF-8", "a\xff", "UTF-8"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse(tc.template)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Parse(%q) = %v, want an error with %q", tc.template, err, tc.want)
			}
		})
	}
}

func TestTemplate_NeedsBody(t *testing.T) {
	for template, want := range map[string]bool{
		"fast tekst":       false,
		"{http.request.x}": false,
		"{step_up.form.a}": true,
		"{step_up.json.a}": true,
		// A body field could override the parameter that is shown.
		"{step_up.query.a}": true,
	} {
		if got := mustParse(t, template).NeedsBody(); got != want {
			t.Errorf("%s: %v, want %v", template, got, want)
		}
	}
}

// FuzzRender holds every text to the rules of a text, whatever the template and
// the request.
func FuzzRender(f *testing.F) {
	f.Add("Betal {step_up.form.amount} kr.", urlEncoded, "", []byte("amount=1"), "v")
	f.Add("{step_up.query.a}{b}", "", "a=1&b=2", []byte{}, "{env.X}")
	f.Add("{step_up.json.a.0}", jsonType, "", []byte(`{"a":[1]}`), "")
	f.Add(`\{{step_up.form.a}\}`, `multipart/form-data; boundary=b`, "",
		[]byte("--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b--\r\n"), "")
	f.Fuzz(func(t *testing.T, template, contentType, query string, body []byte, value string) {
		tmpl, err := Parse(template)
		if err != nil {
			return
		}
		src := Source{
			ContentType: []string{contentType},
			RawQuery:    query,
			Body:        body,
			Placeholder: func(string) (string, bool) { return value, true },
		}
		got, err := tmpl.Render(src)
		if err != nil {
			if got != "" {
				t.Errorf("text %q beside error %v", got, err)
			}
			kindOf(t, err)
			return
		}
		if err := Check(got); err != nil {
			t.Errorf("text %q: %v", got, err)
		}
		if again, err := tmpl.Render(src); again != got || err != nil {
			t.Errorf("second time %q, %v; first %q", again, err, got)
		}
	})
}
