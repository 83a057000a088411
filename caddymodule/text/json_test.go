package text

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// A parser may take the first or the last of two members, and some do not tell
// case apart (CVE-2017-12635).
func TestJSON_refusesDuplicateKey(t *testing.T) {
	tmpl := mustParse(t, "{step_up.json.a.task}")
	for _, doc := range []string{
		`{"a":{"task":1,"task":9}}`,
		`{"a":{"task":1,"task":1}}`,
		`{"a":{"task":1,"TASK":9}}`,
		`{"a":{"Task":9,"task":1}}`,
		`{"a":{"task":1,"ta\u0073k":9}}`,
		`{"a":{"task":1,"ta\u017fk":9}}`,
		`{"a":{"task":1,"tasK":9}}`,
		`{"a":{"task":1},"a":{"task":9}}`,
		`{"a":{"task":1},"A":{"task":9}}`,
		`{"A":9,"a":{"task":1}}`,
		`{"a":{"task":1,"x":1,"X":2}}`,
		`{"a":{"task":1},"x":1,"x":2}`,
		`{"a":{"Task":9}}`,
		`{"A":{"task":9}}`,
	} {
		got, err := tmpl.Render(document(doc))
		if kind := kindOf(t, err); kind != KindDuplicate {
			t.Errorf("%s: %q, %q", doc, got, kind)
		}
	}
}

func TestJSON_value(t *testing.T) {
	const template = "{step_up.json.a}"
	runRender(t, []renderCase{
		{"string", template, document(`{"a":"Søren"}`), "Søren", ""},
		{"escapes", template, document(`{"a":"\u0053\u00f8ren \"\\\/\""}`), `Søren "\/"`, ""},
		{"surrogate pair", template, document(`{"a":"\ud83d\udd11"}`), "🔑", ""},
		{"escaped key", template, document(`{"\u0061":1}`), "1", ""},
		{"white space", template, document(" \t\r\n{ \"a\" : \t1\r\n} \n"), "1", ""},
		{"integer", template, document(`{"a":9007199254740993}`), "9007199254740993", ""},
		{"fraction as sent", template, document(`{"a":100.10}`), "100.10", ""},
		{"negative zero as sent", template, document(`{"a":-0}`), "-0", ""},
		{"precision as sent", template, document(`{"a":0.1000000000000000055511151231257827}`), "0.1000000000000000055511151231257827", ""},
		{"40 characters", template, document(`{"a":` + strings.Repeat("1", 40) + `}`), strings.Repeat("1", 40), ""},
		{"41 characters", template, document(`{"a":` + strings.Repeat("1", 41) + `}`), "", KindTooLong},
		{"exponent", template, document(`{"a":1e6}`), "", KindType},
		{"exponent in capitals", template, document(`{"a":1E+6}`), "", KindType},
		{"true", template, document(`{"a":true}`), "true", ""},
		{"false", template, document(`{"a":false}`), "false", ""},
		{"null", template, document(`{"a":null}`), "", KindType},
		{"array", template, document(`{"a":["1"]}`), "", KindType},
		{"object", template, document(`{"a":{"a":"1"}}`), "", KindType},
		{"missing", template, document(`{"b":1}`), "", KindMissing},
		{"root is a string", template, document(`"a"`), "", KindMissing},
		{"root is an array", template, document(`[{"a":1}]`), "", KindMissing},
		{"value is JSON again", template, document(`{"a":"{\"a\":9}"}`), `{"a":9}`, ""},
		{"dot in key is no path", "{step_up.json.a.b}", document(`{"a.b":1}`), "", KindMissing},
		{"path through a string", "{step_up.json.a.b}", document(`{"a":"b"}`), "", KindMissing},
		{"path through null", "{step_up.json.a.b}", document(`{"a":null}`), "", KindMissing},
		{"element", "{step_up.json.a.1}", document(`{"a":[1, {"x":2} ,3]}`), "", KindType},
		{"last element", "{step_up.json.a.2}", document(`{"a":[1, {"x":2} , 3 ]}`), "3", ""},
		{"element of the root", "{step_up.json.0.a}", document(`[{"a":1}]`), "1", ""},
		{"digits as key", "{step_up.json.0}", document(`{"0":1}`), "1", ""},
		{"no such element", "{step_up.json.a.3}", document(`{"a":[1,2,3]}`), "", KindMissing},
		{"empty array", "{step_up.json.a.0}", document(`{"a":[]}`), "", KindMissing},
		{"negative index", "{step_up.json.a.-1}", document(`{"a":[1,2,3]}`), "", KindMissing},
		{"index with zero", "{step_up.json.a.01}", document(`{"a":[1,2,3]}`), "", KindMissing},
		{"huge index", "{step_up.json.a.99999999999999999999}", document(`{"a":[1]}`), "", KindMissing},
		{"case varies off the path", template, document(`{"a":1,"b":{"x":1,"X":2}}`), "1", ""},
		{"64 levels", template, document(`{"a":1,"b":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`), "1", ""},
		{"neighbours are no levels", template, document(`{"a":1,"b":[[]` + strings.Repeat(",[]", 100) + `]}`), "1", ""},
		{"brackets in strings are no levels", template, document(`{"a":1,"b":"` + strings.Repeat(`[\"{`, 100) + `"}`), "1", ""},
	})
}

func TestJSON_refusesDocument(t *testing.T) {
	for name, tc := range map[string]struct {
		doc  string
		kind Kind
	}{
		"empty":                      {"", KindSyntax},
		"trailing data":              {`{"a":1}{"a":9}`, KindSyntax},
		"trailing comma":             {`{"a":1,}`, KindSyntax},
		"comment":                    {`{"a":1/*,"a":9*/}`, KindSyntax},
		"single quotes":              {`{'a':1}`, KindSyntax},
		"leading zero":               {`{"a":01}`, KindSyntax},
		"NaN":                        {`{"a":1,"b":NaN}`, KindSyntax},
		"line end in string":         {"{\"a\":\"1\n\"}", KindSyntax},
		"byte order mark":            {"\ufeff{\"a\":1}", KindSyntax},
		"NUL after it":               {"{\"a\":1}\x00", KindSyntax},
		"invalid UTF-8":              {"{\"a\":1,\"b\":\"\xff\"}", KindEncoding},
		"invalid UTF-8 in key":       {"{\"a\":1,\"a\xff\":9}", KindEncoding},
		"surrogate as UTF-8":         {"{\"a\":\"\xed\xa0\xbd\"}", KindEncoding},
		"UTF-16":                     {"\xff\xfe{\x00}\x00", KindEncoding},
		"high surrogate alone":       {`{"a":"\ud83d"}`, KindEncoding},
		"high surrogate, then text":  {`{"a":"\ud83dxxxxxx"}`, KindEncoding},
		"low surrogate alone":        {`{"a":"\udd11"}`, KindEncoding},
		"surrogates swapped":         {`{"a":"\udd11\ud83d"}`, KindEncoding},
		"two high surrogates":        {`{"a":"\ud83d\ud83d\udd11"}`, KindEncoding},
		"surrogate and escape":       {`{"a":"\ud83d\n"}`, KindEncoding},
		"lone surrogate elsewhere":   {`{"a":1,"b\ud83d":2}`, KindEncoding},
		"surrogate after backslash":  {`{"a":"\\\ud83d"}`, KindEncoding},
		"escaped NUL in key":         {`{"a":1,"a\u0000":9}`, KindCharacters},
		"escaped NUL in value":       {`{"a":"1\u00009"}`, KindCharacters},
		"escaped override in value":  {`{"a":"\u202e001"}`, KindCharacters},
		"65 levels":                  {`{"a":1,"b":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, KindTooMany},
		"more levels than Go allows": {strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000), KindSyntax},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mustParse(t, "{step_up.json.a}").Render(document(tc.doc))
			if kind := kindOf(t, err); kind != tc.kind {
				t.Errorf("got %q, %q; want %q", got, kind, tc.kind)
			}
		})
	}
	// An escaped backslash before a u is no escape.
	got, err := mustParse(t, "{step_up.json.a}").Render(document(`{"a":"\\ud83d"}`))
	if got != `\ud83d` || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// FuzzJSON: when a value is shown, encoding/json sees the same, once, with and
// without regard to case.
func FuzzJSON(f *testing.F) {
	for _, doc := range []string{
		`{"a":{"b":"x"}}`, `{"a":{"b":1.50}}`, `{"a":{"b":1,"B":2}}`, `{"A":{},"a":{"b":true}}`, `{"a":{"b":"\ud83d\udd11"}}`,
		`{"a":{"b":"\ud83d"}}`, `{"a":[1],"a":{"b":2}}`, "{\"a\":{\"b\":\"\xff\"}}", `{"a":{"b":1}}x`, `{"c":[[{}]],"a":{"b":-0}}`,
	} {
		f.Add([]byte(doc))
	}
	tmpl := mustParse(f, "{step_up.json.a.b}")
	f.Fuzz(func(t *testing.T, doc []byte) {
		got, err := tmpl.Render(Source{ContentType: []string{jsonType}, Body: doc})
		if err != nil {
			return
		}
		var exact map[string]map[string]any
		var outer map[string]json.RawMessage
		var folding struct{ A struct{ B any } }
		if err := json.Unmarshal(doc, &outer); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(`{"a":`+string(outer["a"])+`}`), &exact); err != nil {
			t.Fatal(err)
		}
		dec := json.NewDecoder(bytes.NewReader(doc))
		dec.UseNumber()
		if err := dec.Decode(&folding); err != nil {
			t.Fatal(err)
		}
		shown := func(v any) string {
			switch v := v.(type) {
			case string:
				return v
			case json.Number:
				return v.String()
			case bool:
				return map[bool]string{true: "true", false: "false"}[v]
			default:
				t.Fatalf("shown %q, encoding/json sees %T", got, v)
				return ""
			}
		}
		if s := shown(folding.A.B); s != got {
			t.Fatalf("shown %q, encoding/json without case sees %q", got, s)
		}
		if _, number := folding.A.B.(json.Number); !number {
			if s := shown(exact["a"]["b"]); s != got {
				t.Fatalf("shown %q, encoding/json sees %q", got, s)
			}
		}
	})
}
