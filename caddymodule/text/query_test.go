package text

import "testing"

func TestQuery_refusesWhatReceiversReadDifferently(t *testing.T) {
	for name, tc := range map[string]struct {
		query string
		kind  Kind
	}{
		"duplicate":            {"amount=1&amount=9", KindDuplicate},
		"duplicate as array":   {"amount=1&amount[]=9", KindDuplicate},
		"duplicate by case":    {"Amount=9&amount=1", KindDuplicate},
		"semicolon":            {"amount=1;amount=9", KindSyntax},
		"bad escape elsewhere": {"amount=1&x=%", KindSyntax},
		"fragment":             {"x=1#&amount=1", KindSyntax},
		"space":                {"amount=1&x=a b", KindSyntax},
		"tab":                  {"amount=1&x=a\tb", KindSyntax},
		"unescaped UTF-8":      {"amount=1&x=ø", KindSyntax},
		"DEL":                  {"amount=1&x=\x7f", KindSyntax},
		"invalid UTF-8":        {"amount=1&x=%ff", KindEncoding},
		"missing":              {"x=1", KindMissing},
		"empty query":          {"", KindMissing},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mustParse(t, "{step_up.query.amount}").Render(Source{RawQuery: tc.query})
			if kind := kindOf(t, err); kind != tc.kind {
				t.Errorf("got %q, %q; want %q", got, kind, tc.kind)
			}
		})
	}
}

// FuzzQuery: when a value is shown, net/url sees the same, once.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"a=1", "a=1&b=2", "a=1;b", "a=%41+b", "a=1#a=2", "b=%&a=1", "a[0]=1"} {
		f.Add(s)
	}
	tmpl := mustParse(f, "{step_up.query.a}")
	f.Fuzz(func(t *testing.T, query string) {
		got, err := tmpl.Render(Source{RawQuery: query})
		if err != nil {
			return
		}
		checkValues(t, query, got)
	})
}
