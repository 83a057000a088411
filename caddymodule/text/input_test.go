package text

import "testing"

// Java's getParameter takes the query before the body, Rails, PHP and Laravel
// the body before the query: a name in both is shown once and used twice.
func TestRender_refusesFieldInBothQueryAndBody(t *testing.T) {
	multipart := Source{
		ContentType: []string{"multipart/form-data; boundary=b"},
		Body:        []byte("--b\r\nContent-Disposition: form-data; name=\"amount\"\r\n\r\n1\r\n--b--\r\n"),
	}
	with := func(src Source, query string) Source {
		src.RawQuery = query
		return src
	}
	runRender(t, []renderCase{
		{"query over form", "{step_up.form.amount}", with(form("amount=1"), "amount=9"), "", KindDuplicate},
		{"query over form by case", "{step_up.form.amount}", with(form("amount=1"), "AMOUNT[]=9"), "", KindDuplicate},
		{"query over multipart", "{step_up.form.amount}", with(multipart, "amount=9"), "", KindDuplicate},
		{"query over JSON", "{step_up.json.amount}", with(document(`{"amount":1}`), "amount=9"), "", KindDuplicate},
		{"query over nested JSON", "{step_up.json.a.b}", with(document(`{"a":{"b":1}}`), "a[b]=9"), "", KindDuplicate},
		{"query over JSON parent", "{step_up.json.a.b}", with(document(`{"a":{"b":1}}`), "a=9"), "", KindDuplicate},
		{"form over query", "{step_up.query.amount}", with(form("amount=9"), "amount=1"), "", KindDuplicate},
		{"multipart over query", "{step_up.query.amount}", with(multipart, "amount=1"), "", KindDuplicate},
		{"JSON over query", "{step_up.query.amount}", with(document(` {"Amount":9}`), "amount=1"), "", KindDuplicate},
		{"unreadable query beside form", "{step_up.form.amount}", with(form("amount=1"), "%&amount=9"), "", KindSyntax},
		{"unreadable form beside query", "{step_up.query.amount}", with(form("%&amount=9"), "amount=1"), "", KindSyntax},
		{"unreadable JSON beside query", "{step_up.query.amount}", with(document(`{"amount":9,}`), "amount=1"), "", KindSyntax},
		{"other names", "{step_up.form.amount} {step_up.query.id}", with(form("amount=1&to=Bo"), "id=2&x=3"), "1 2", ""},
		{"query beside JSON", "{step_up.query.amount}", with(document(`{"to":"Bo","a":{"amount":9}}`), "amount=1"), "1", ""},
		{"query beside JSON array", "{step_up.query.amount}", with(document(`[1]`), "amount=1"), "1", ""},
		{
			"query beside plain text", "{step_up.query.amount}",
			Source{ContentType: []string{"text/plain"}, Body: []byte("amount=9"), RawQuery: "amount=1"}, "1", "",
		},
		{
			"query beside a Content-Type without body", "{step_up.query.amount}",
			Source{ContentType: []string{"a", "b"}, RawQuery: "amount=1"}, "1", "",
		},
	})
}

// The bytes are read as what the one Content-Type says, or not at all.
func TestRender_refusesContentType(t *testing.T) {
	const (
		formField = "{step_up.form.a}"
		jsonField = "{step_up.json.a}"
		query     = "{step_up.query.a}"
	)
	for _, tc := range []struct {
		name, template, body string
		contentType          []string
	}{
		{"none", formField, "a=1", nil},
		{"empty", formField, "a=1", []string{""}},
		{"two", formField, "a=1", []string{urlEncoded, urlEncoded}},
		{"two in one", formField, "a=1", []string{urlEncoded + ", " + jsonType}},
		{"other", formField, "a=1", []string{"text/plain"}},
		{"JSON for form", formField, `{"a":1}`, []string{jsonType}},
		{"form for JSON", jsonField, "a=1", []string{urlEncoded}},
		{"prefix", formField, "a=1", []string{urlEncoded + "x"}},
		{"other charset", formField, "a=1", []string{urlEncoded + "; charset=utf-7"}},
		{"other charset, quoted", formField, "a=1", []string{urlEncoded + `; charset="iso-8859-1"`}},
		{"other charset, JSON", jsonField, `{"a":1}`, []string{jsonType + "; charset=utf-16"}},
		{"two charsets", formField, "a=1", []string{urlEncoded + "; charset=utf-8; charset=utf-7"}},
		{"two charsets by case", formField, "a=1", []string{urlEncoded + "; charset=utf-8; Charset=utf-7"}},
		{"bad parameter", formField, "a=1", []string{urlEncoded + "; charset"}},
		{"space before =", formField, "a=1", []string{urlEncoded + "; charset =utf-8"}},
		{"empty parameter", formField, "a=1", []string{urlEncoded + ";"}},
		{"empty value", formField, "a=1", []string{urlEncoded + "; charset="}},
		{"value is no token", formField, "a=1", []string{urlEncoded + "; x=a,b"}},
		{"quote not closed", formField, "a=1", []string{urlEncoded + `; charset="utf-8`}},
		{"text after quote", formField, "a=1", []string{urlEncoded + `; charset="utf-8"x`}},
		{"backslash", formField, "a=1", []string{urlEncoded + `; charset="ut\f-8"`}},
		{"invalid UTF-8", formField, "a=1", []string{urlEncoded + "; x=\"\xff\""}},
		{"text/json", jsonField, `{"a":1}`, []string{"text/json"}},
		{"no subtype", jsonField, `{"a":1}`, []string{"x+json"}},
		{"three parts", jsonField, `{"a":1}`, []string{"a/b/c+json"}},
		// Rack takes a POST without Content-Type for a form.
		{"query, body without type", query, "a=9", nil},
		{"query, body with two types", query, "a=9", []string{"text/plain", urlEncoded}},
		{"query, multipart/mixed", query, "a=9", []string{"multipart/mixed; boundary=b"}},
		{"query, text/json", query, `{"a":9}`, []string{"text/json"}},
		{"query, form in other charset", query, "a=9", []string{urlEncoded + "; charset=utf-7"}},
		{"query, JSON in other charset", query, `{"b":9}`, []string{jsonType + "; charset=utf-7"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src := Source{ContentType: tc.contentType, Body: []byte(tc.body), RawQuery: ""}
			if tc.template == query {
				src.RawQuery = "a=1"
			}
			got, err := mustParse(t, tc.template).Render(src)
			if kind := kindOf(t, err); kind != KindContentType {
				t.Errorf("got %q, %q", got, kind)
			}
		})
	}
}

// Some deflate streams are plain ASCII, so they can be a form as well.
func TestRender_refusesContentEncoding(t *testing.T) {
	for _, tc := range []struct {
		template string
		src      Source
	}{
		{"{step_up.form.a}", form("a=1")},
		{"{step_up.json.a}", document(`{"a":1}`)},
		{"{step_up.query.a}", Source{ContentType: []string{urlEncoded}, Body: []byte("b=1"), RawQuery: "a=1"}},
	} {
		for _, encoding := range []string{"gzip", "deflate", "identity", ""} {
			tc.src.ContentEncoding = []string{encoding}
			_, err := mustParse(t, tc.template).Render(tc.src)
			if kind := kindOf(t, err); kind != KindContentType {
				t.Errorf("%s, %q: %q", tc.template, encoding, kind)
			}
		}
	}
}

func TestRender_acceptsContentType(t *testing.T) {
	for _, contentType := range []string{
		"application/json", "Application/JSON", "application/json; charset=utf-8", `application/json;charset="UTF-8" ; v=1`,
		"application/vnd.bank.v1+json", " application/json\t;\tcharset=utf-8\t",
	} {
		src := document(`{"a":1}`)
		src.ContentType = []string{contentType}
		if got, err := mustParse(t, "{step_up.json.a}").Render(src); got != "1" || err != nil {
			t.Errorf("%q: %q, %v", contentType, got, err)
		}
	}
}
