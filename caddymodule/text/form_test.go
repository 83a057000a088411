package text

import (
	"net/url"
	"strings"
	"testing"
)

// Receivers differ on which of two fields they take (CVE-2017-12635 for forms).
func TestForm_refusesDuplicateField(t *testing.T) {
	for _, other := range []string{
		"amount=9", "amount=1", "amount", "%61mount=9", "AMOUNT=9", "amoun%74=9",
		"amount%5B%5D=9", "amount[]=9", "amount[0]=9", "amount%5Bx%5D%5By%5D=9", "amount[=9", "amount]=9", "[amount]=9", "[[amount]]=9",
		"amount+=9", "+amount=9", "amount%20=9", "amount.=9", ".amount=9", "amount_=9", "_amount=9", "!amount=9", "amount-=9",
		"amount%09=9", "amount%0A=9", "amount%0B=9", "%EF%BB%BFamount=9", "amount(1i)=9", "amount%E2%80%8B=9",
		"Amou%6Et=9",
	} {
		for _, body := range []string{"amount=1&" + other, other + "&amount=1", "amount=1&x=2&" + other} {
			got, err := mustParse(t, "{step_up.form.amount}").Render(form(body))
			if kind := kindOf(t, err); kind != KindDuplicate {
				t.Errorf("%s: got %q, %q", body, got, kind)
			}
		}
	}
	// ſ and K are s and k for whoever ignores case as Unicode does.
	for _, body := range []string{"task=1&ta%C5%BFk=9", "task=1&tas%E2%84%AA=9"} {
		_, err := mustParse(t, "{step_up.form.task}").Render(form(body))
		if kind := kindOf(t, err); kind != KindDuplicate {
			t.Errorf("%s: %q", body, kind)
		}
	}
}

func TestForm_refusesOtherSpellingAlone(t *testing.T) {
	for _, body := range []string{"Amount=9", "amount[]=9", "amount.=9"} {
		_, err := mustParse(t, "{step_up.form.amount}").Render(form(body))
		if kind := kindOf(t, err); kind != KindDuplicate {
			t.Errorf("%s: %q", body, kind)
		}
	}
}

func TestForm_refusesOverlapOfNestedField(t *testing.T) {
	tmpl := mustParse(t, "{step_up.form.transfer[amount]}")
	for _, other := range []string{
		"transfer=9", "transfer[]=9", "transfer.amount=9", "transfer_amount=9", "transfer[amount][0]=9", "transfer[+amount]=9",
		"Transfer[Amount]=9", "transfer[amount=9",
	} {
		_, err := tmpl.Render(form("transfer[amount]=1&" + other))
		if kind := kindOf(t, err); kind != KindDuplicate {
			t.Errorf("%s: %q", other, kind)
		}
	}
	got, err := tmpl.Render(form("transfer[amount]=1&transfer[to]=Bo&transfers=3"))
	if got != "1" || err != nil {
		t.Errorf("siblings: %q, %v", got, err)
	}
}

func TestForm_readsNeighboursInPeace(t *testing.T) {
	runRender(t, []renderCase{
		{
			"similar beginnings", "{step_up.form.amount}",
			form("amount_currency=DKK&amounts=2&amount=1&am=3&pre.amount=4&other[amount]=5&_=6&%5B%5D=7"), "1", "",
		},
		{"name of signs beside brackets", "{step_up.form.[amount]}", form("_=2&[amount]=1"), "1", ""},
		{"empty pairs", "{step_up.form.a}", form("&&a=1&&b=2&"), "1", ""},
		{"equals sign in value", "{step_up.form.a}", form("a=b=c"), "b=c", ""},
		{"unescaped UTF-8", "{step_up.form.a}", form("a=Søren"), "Søren", ""},
		{"charset", "{step_up.form.a}", Source{ContentType: []string{urlEncoded + ";charset=UTF-8"}, Body: []byte("a=1")}, "1", ""},
		{"_charset_", "{step_up.form.a}", form("_charset_=UTF-8&a=1"), "1", ""},
		{"1000 fields", "{step_up.form.a}", form(strings.Repeat("b=2&", 999) + "a=1"), "1", ""},
		{"not there", "{step_up.form.a}", form("b=2"), "", KindMissing},
		{"empty body", "{step_up.form.a}", form(""), "", KindMissing},
	})
}

// The text would be made from one field while a lenient receiver reads another
// (CVE-2022-2880, CVE-2026-39825).
func TestForm_refusesWhatReceiversReadDifferently(t *testing.T) {
	for name, tc := range map[string]struct {
		body string
		kind Kind
	}{
		"semicolon":                    {"amount=1;amount=9", KindSyntax},
		"semicolon in other field":     {"amount=1&b=2;amount=9", KindSyntax},
		"semicolon in name":            {"amount=1&b;amount=9", KindSyntax},
		"bad escape":                   {"amount=1&b=%zz", KindSyntax},
		"bad escape, second digit":     {"amount=1&b=%4g", KindSyntax},
		"bad escape in name":           {"amount=1&%amount=9", KindSyntax},
		"bad escape, first digit":      {"amount=1&b=%g4", KindSyntax},
		"short escape":                 {"amount=1%", KindSyntax},
		"short escape of one digit":    {"amount=1%4", KindSyntax},
		"NUL":                          {"amount=1&amount\x00=9", KindSyntax},
		"escaped NUL in name":          {"amount=1&amount%00=9", KindSyntax},
		"escaped NUL in value":         {"amount=1%000", KindSyntax},
		"line end":                     {"amount=1&b=2\r\n", KindSyntax},
		"DEL":                          {"amount=1&b=\x7f", KindSyntax},
		"invalid UTF-8 value":          {"amount=1&b=%ff", KindEncoding},
		"invalid UTF-8 name":           {"amount=1&%ff=2", KindEncoding},
		"overlong UTF-8":               {"amount=1&%c1%a1mount=9", KindEncoding},
		"UTF-8 over the edge of = ":    {"amount=1&\xc3=\xa6", KindEncoding},
		"surrogate":                    {"amount=%ed%a0%80", KindEncoding},
		"1001 fields":                  {strings.Repeat("b=2&", 1000) + "amount=1", KindTooMany},
		"10001 fields":                 {"amount=1" + strings.Repeat("&b=2", 10_000), KindTooMany},
		"charset named in form":        {"amount=1&_charset_=utf-16", KindContentType},
		"charset named in capitals":    {"amount=1&_CHARSET_=utf-7", KindContentType},
		"spaces at the end":            {"amount=1+", KindCharacters},
		"escaped space at the start":   {"amount=%201", KindCharacters},
		"no-break space at the end":    {"amount=1%C2%A0", KindCharacters},
		"line end in the value":        {"amount=1%0D%0A", KindCharacters},
		"several spaces in the value":  {"amount=1++9", KindCharacters},
		"fullwidth digits in value":    {"amount=%EF%BC%91", KindCharacters},
		"bidi override in the value":   {"amount=%E2%80%AE001", KindCharacters},
		"zero width space in value":    {"amount=1%E2%80%8B0", KindCharacters},
		"byte order mark in the value": {"amount=%EF%BB%BF1", KindCharacters},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mustParse(t, "{step_up.form.amount}").Render(form(tc.body))
			if kind := kindOf(t, err); kind != tc.kind {
				t.Errorf("got %q, %q; want %q", got, kind, tc.kind)
			}
		})
	}
}

// The time for a name is linear in its length.
func TestForm_survivesHostileNames(t *testing.T) {
	body := "a" + strings.Repeat("[", 1<<20) + "=1&b=2"
	runRender(t, []renderCase{
		{"brackets", "{step_up.form.b}", form(body), "2", ""},
		{"brackets on the field", "{step_up.form.a}", form(body), "", KindDuplicate},
	})
}

// FuzzForm: when a value is shown, net/url sees the same, once.
func FuzzForm(f *testing.F) {
	for _, s := range []string{
		"a=1", "a=1&b=2", "a=1;b=2", "a=%41+b", "a=1&A=2", "a[]=1&a=2", "a=%zz", "a=%C3%B8", "&a=1&", "a==", "%61=1", "a=1&_charset_=x",
	} {
		f.Add(s)
	}
	tmpl := mustParse(f, "{step_up.form.a}")
	f.Fuzz(func(t *testing.T, body string) {
		got, err := tmpl.Render(form(body))
		if err != nil {
			return
		}
		checkValues(t, body, got)
	})
}

// checkValues holds a shown value of a against net/url.
func checkValues(t *testing.T, encoded, got string) {
	t.Helper()
	values, err := url.ParseQuery(encoded)
	if err != nil {
		t.Fatalf("net/url refuses %q: %v", encoded, err)
	}
	if len(values["a"]) != 1 || values.Get("a") != got {
		t.Fatalf("shown %q, net/url sees %q", got, values["a"])
	}
	for key := range values {
		if key != "a" && strings.EqualFold(strings.Trim(key, " ._[]"), "a") {
			t.Fatalf("shown %q beside %q", got, key)
		}
	}
}
