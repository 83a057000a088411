package text

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"slices"
	"strings"
	"testing"
)

const boundary = "----WebKitFormBoundaryAbc123"

// parts joins parts as browsers do.
func parts(list ...string) Source {
	var b strings.Builder
	for _, p := range list {
		fmt.Fprintf(&b, "--%s\r\n%s\r\n", boundary, p)
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return multipartBody(b.String())
}

func multipartBody(body string) Source {
	return Source{ContentType: []string{"multipart/form-data; boundary=" + boundary}, Body: []byte(body)}
}

// plain is a part as browsers write it.
func plain(name, value string) string {
	return fmt.Sprintf("Content-Disposition: form-data; name=%q\r\n\r\n%s", name, value)
}

const file = "Content-Disposition: form-data; name=\"bilag\"; filename=\"100% ø.pdf\"\r\nContent-Type: application/pdf\r\n\r\n\x00\xff\r\n--\r\n"

func TestMultipart_accepts(t *testing.T) {
	const template = "{step_up.form.amount}"
	runRender(t, []renderCase{
		{"one field", template, parts(plain("amount", "1")), "1", ""},
		{"beside a file", template, parts(file, plain("amount", "1"), plain("to", "Bo")), "1", ""},
		{"unquoted name", template, parts("Content-Disposition: form-data; name=amount\r\n\r\n1"), "1", ""},
		{"text/plain in UTF-8", template, parts("content-type: text/plain; charset=UTF-8\r\nContent-disposition: Form-Data; name=\"amount\"\r\n\r\n1"), "1", ""},
		{"no line end after the last boundary", template, multipartBody(strings.TrimSuffix(string(parts(plain("amount", "1")).Body), "\r\n")), "1", ""},
		{"UTF-8", "{step_up.form.beløb}", parts(plain("beløb", "1 krøne")), "1 krøne", ""},
		{"nothing is unescaped", template, parts(plain("amount", "1%2B+1")), "1%2B+1", ""},
		{"boundary quoted", template, Source{
			ContentType: []string{`multipart/form-data; boundary="` + boundary + `"`}, Body: parts(plain("amount", "1")).Body,
		}, "1", ""},
		{"missing", template, parts(plain("to", "Bo")), "", KindMissing},
		{"empty", template, parts(plain("amount", "")), "", KindMissing},
		{"1000 parts", template, parts(append(slices.Repeat([]string{plain("b", "2")}, 999), plain("amount", "1"))...), "1", ""},
	})
}

func TestMultipart_refusesDuplicateField(t *testing.T) {
	for _, other := range []string{"amount", "AMOUNT", "amount[]", "amount[0]", "amount ", "amount.", "amount_", " amount", "[amount]"} {
		for _, src := range []Source{
			parts(plain("amount", "1"), plain(other, "9")),
			parts(plain(other, "9"), plain("amount", "1")),
			parts(plain("amount", "1"), fmt.Sprintf("Content-Disposition: form-data; name=%q; filename=\"x\"\r\n\r\n9", other)),
		} {
			_, err := mustParse(t, "{step_up.form.amount}").Render(src)
			if kind := kindOf(t, err); kind != KindDuplicate {
				t.Errorf("%q: %q", other, kind)
			}
		}
	}
}

// Each of these is read in two ways by receivers that are in use.
func TestMultipart_refusesWhatReceiversReadDifferently(t *testing.T) {
	good := string(parts(plain("amount", "1")).Body)
	disposition := func(s string) Source {
		return parts(plain("amount", "1"), "Content-Disposition: "+s+"\r\n\r\n9")
	}
	header := func(s string) Source {
		return parts(s + "\r\n" + plain("amount", "1"))
	}
	for name, tc := range map[string]struct {
		src  Source
		kind Kind
	}{
		"preamble":                       {multipartBody("x\r\n" + good), KindSyntax},
		"line end before first boundary": {multipartBody("\r\n" + good), KindSyntax},
		"epilogue":                       {multipartBody(good + "x"), KindSyntax},
		"second form after the last":     {multipartBody(good + good), KindSyntax},
		"no closing boundary":            {multipartBody(strings.TrimSuffix(good, "--\r\n")), KindSyntax},
		"closing boundary with one dash": {multipartBody(strings.TrimSuffix(good, "-\r\n")), KindSyntax},
		"closing boundary only":          {multipartBody("--" + boundary + "--"), KindMissing},
		"no boundary at all":             {multipartBody("amount=1"), KindSyntax},
		"empty body":                     {multipartBody(""), KindSyntax},
		"LF line ends":                   {multipartBody(strings.ReplaceAll(good, "\r\n", "\n")), KindSyntax},
		"LF before a boundary":           {multipartBody(strings.Replace(good, "1\r\n--", "1\n--", 1)), KindSyntax},
		"LF after the headers":           {multipartBody(strings.Replace(good, "\r\n\r\n", "\r\n\n", 1)), KindSyntax},
		"space after the boundary":       {multipartBody(strings.Replace(good, boundary+"\r\n", boundary+" \r\n", 1)), KindSyntax},
		"no line end after boundary":     {multipartBody(strings.Replace(good, boundary+"\r\n", boundary, 1)), KindSyntax},
		"boundary inside a value":        {parts(plain("to", "x--"+boundary+"y"), plain("amount", "1")), KindSyntax},
		"boundary as prefix":             {parts(plain("to", "x\r\n--"+boundary+"x\r\n\r\ny"), plain("amount", "1")), KindSyntax},
		"part without headers":           {parts("\r\n9", plain("amount", "1")), KindSyntax},
		"part without empty line":        {parts("Content-Disposition: form-data; name=\"x\"", plain("amount", "1")), KindSyntax},
		"two dispositions":               {header("Content-Disposition: form-data; name=\"x\""), KindSyntax},
		"two dispositions by case":       {header("content-disposition: form-data; name=\"x\""), KindSyntax},
		"two types":                      {header("Content-Type: text/plain\r\nContent-Type: text/plain"), KindSyntax},
		"transfer encoding":              {header("Content-Transfer-Encoding: base64"), KindSyntax},
		"transfer encoding, printable":   {header("Content-Transfer-Encoding: quoted-printable"), KindSyntax},
		"other header":                   {header("Content-Length: 1"), KindSyntax},
		"folded header":                  {parts("Content-Disposition: form-data;\r\n name=\"amount\"\r\n\r\n1"), KindSyntax},
		"space before the colon":         {parts("Content-Disposition : form-data; name=\"amount\"\r\n\r\n1"), KindSyntax},
		"header without colon":           {header("Content-Type"), KindSyntax},
		"bare LF in header":              {header("Content-Type: text/plain\nContent-Disposition: form-data; name=\"x\""), KindSyntax},
		"bare CR in header":              {header("Content-Type: text/plain\rX: y"), KindSyntax},
		"NUL in name":                    {disposition("form-data; name=\"amount\x00x\""), KindSyntax},
		"DEL in name":                    {disposition("form-data; name=\"amount\x7f\""), KindSyntax},
		"backslash in filename":          {disposition(`form-data; name="x"; filename="C:\x"`), KindSyntax},
		"two names":                      {disposition(`form-data; name="x"; name="amount"`), KindSyntax},
		"two names by case":              {disposition(`form-data; name="x"; NAME="amount"`), KindSyntax},
		"extended name":                  {disposition(`form-data; name="x"; name*=utf-8''amount`), KindSyntax},
		"continued name":                 {disposition(`form-data; name*0="amo"; name*1="unt"`), KindSyntax},
		"extended filename":              {disposition(`form-data; name="x"; filename*=utf-8''y`), KindSyntax},
		"both filenames":                 {disposition(`form-data; name="x"; filename="y"; filename*=utf-8''y`), KindSyntax},
		"escaped quote":                  {disposition(`form-data; name="x\"; y="; filename="; name=amount"`), KindSyntax},
		"percent in name":                {disposition(`form-data; name="%61mount"`), KindSyntax},
		"no name":                        {disposition(`form-data`), KindSyntax},
		"no name but filename":           {disposition(`form-data; filename="x"`), KindSyntax},
		"other disposition":              {disposition(`attachment; name="amount"`), KindSyntax},
		"unknown parameter":              {disposition(`form-data; name="x"; y="z"`), KindSyntax},
		"quote not closed":               {disposition(`form-data; name="x`), KindSyntax},
		"invalid UTF-8 in name":          {disposition("form-data; name=\"am\xffount\""), KindSyntax},
		"nested multipart":               {parts(plain("amount", "1"), "Content-Disposition: form-data; name=\"x\"\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c--"), KindSyntax},
		"type without slash":             {header("Content-Type: text"), KindSyntax},
		"charset of the part":            {header("Content-Type: text/plain; charset=utf-16"), KindContentType},
		"JSON in the part":               {header("Content-Type: application/json"), KindContentType},
		"file for the field":             {parts("Content-Disposition: form-data; name=\"amount\"; filename=\"x\"\r\n\r\n1"), KindType},
		"file with empty name":           {parts("Content-Disposition: form-data; name=\"amount\"; filename=\"\"\r\n\r\n1"), KindType},
		"invalid UTF-8 in value":         {parts(plain("amount", "1\xff")), KindEncoding},
		"line end in value":              {parts(plain("amount", "1\r\n")), KindCharacters},
		"charset named in the form":      {parts(plain("_charset_", "utf-16"), plain("amount", "1")), KindContentType},
		"1001 parts":                     {parts(append(slices.Repeat([]string{plain("b", "2")}, 1000), plain("amount", "1"))...), KindTooMany},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mustParse(t, "{step_up.form.amount}").Render(tc.src)
			if kind := kindOf(t, err); kind != tc.kind {
				t.Errorf("got %q, %q; want %q", got, kind, tc.kind)
			}
		})
	}
}

func TestMultipart_refusesBoundary(t *testing.T) {
	for _, params := range []string{
		"", "; boundary=", `; boundary=""`, `; boundary="a b"`, `; boundary="a,b"`, "; boundary=a; boundary=b", "; boundary*=utf-8''a",
		"; boundary=" + strings.Repeat("a", 71), "; boundary=a; charset=utf-16", "; boundary=ø",
	} {
		src := Source{
			ContentType: []string{"multipart/form-data" + params},
			Body:        []byte("--a\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--a--\r\n"),
		}
		_, err := mustParse(t, "{step_up.form.a}").Render(src)
		if kind := kindOf(t, err); kind != KindContentType {
			t.Errorf("%q: %q", params, kind)
		}
	}
}

// FuzzMultipart: when a value is shown, mime/multipart sees the same, once.
func FuzzMultipart(f *testing.F) {
	const contentType = "multipart/form-data; boundary=b"
	part := "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n"
	for _, body := range []string{
		part + "--b--\r\n", part + part + "--b--", "x" + part + "--b--", part, part + "--b--x",
		strings.Replace(part, "\r\n\r\n", "\r\nContent-Type: text/plain\r\n\r\n", 1) + "--b--",
		strings.Replace(part, "\"a\"", "\"b\"; filename=\"c\"", 1) + part + "--b--",
		strings.Replace(part, "\"a\"", "\"x\"; name*=utf-8''a", 1) + "--b--",
	} {
		f.Add(contentType, []byte(body))
	}
	f.Add("multipart/form-data; charset=utf-8; boundary=\"b\"", []byte(part+"--b--"))
	tmpl := mustParse(f, "{step_up.form.a}")
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		got, err := tmpl.Render(Source{ContentType: []string{contentType}, Body: body})
		if err != nil {
			return
		}
		mt, params, err := mime.ParseMediaType(contentType)
		if err != nil {
			t.Fatalf("mime refuses %q: %v", contentType, err)
		}
		if mt == urlEncodedForm {
			checkValues(t, string(body), got)
			return
		}
		var seen []string
		r := multipart.NewReader(bytes.NewReader(body), params["boundary"])
		for {
			p, err := r.NextPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("mime/multipart refuses %q: %v", body, err)
			}
			value, err := io.ReadAll(p)
			if err != nil {
				t.Fatal(err)
			}
			if strings.EqualFold(p.FormName(), "a") {
				seen = append(seen, string(value))
			}
		}
		if len(seen) != 1 || seen[0] != got {
			t.Fatalf("shown %q, mime/multipart sees %q", got, seen)
		}
	})
}
