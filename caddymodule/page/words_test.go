package page

import (
	"reflect"
	"strings"
	"testing"
)

// strs calls f for every string in v, with the path to it.
func strs(v reflect.Value, path string, f func(path, s string)) {
	if v.Kind() == reflect.String {
		f(path, v.String())
		return
	}
	for i := range v.NumField() {
		strs(v.Field(i), path+"."+v.Type().Field(i).Name, f)
	}
}

func TestWords_areWholeAndTranslated(t *testing.T) {
	inDanish := map[string]string{}
	strs(reflect.ValueOf(danish), "", func(path, s string) { inDanish[path] = s })
	strs(reflect.ValueOf(english), "", func(path, s string) {
		switch da := inDanish[path]; {
		case s == "" || da == "":
			t.Errorf("%s is empty", path)
		case s == da:
			t.Errorf("%s is the same in both languages: %q", path, s)
		case strings.Count(s, "%d") != strings.Count(da, "%d") || strings.Count(s, "%") != strings.Count(s, "%d"):
			t.Errorf("%s: verbs differ: %q and %q", path, da, s)
		case s != strings.TrimSpace(s) || da != strings.TrimSpace(da):
			t.Errorf("%s: space around the words", path)
		}
	})
}

// MitID's own name for its app is "MitID app", in Danish too.
func TestWords_callTheAppByItsName(t *testing.T) {
	for _, w := range tables {
		strs(reflect.ValueOf(*w), "", func(path, s string) {
			if strings.Count(s, "MitID") != strings.Count(s, "MitID app") || strings.Contains(s, "MitID app-") {
				t.Errorf("%s: %q", path, s)
			}
		})
	}
}

// Every page that is not pending says what became of the request: nothing has
// been carried out, or for Spent, that it is not repeated.
func TestWords_sayThatNothingWasCarriedOut(t *testing.T) {
	for l, phrases := range map[Language][2]string{
		Danish:  {"ntet er blevet udført", "bliver ikke gentaget"},
		English: {"othing has been carried out", "is not repeated"},
	} {
		for _, s := range states {
			if s == Pending {
				continue
			}
			m := tables[l].message(s)
			if got, want := strings.Contains(m.Lead, phrases[0]), s != Spent; got != want {
				t.Errorf("%s %s: %q", l, s, m.Lead)
			}
			if got, want := strings.Contains(m.Lead, phrases[1]), s == Spent; got != want {
				t.Errorf("%s %s: %q", l, s, m.Lead)
			}
		}
	}
}

func TestWords_everyStateHasItsOwnHeading(t *testing.T) {
	for l, w := range tables {
		seen := map[string]State{}
		for _, s := range states {
			h := w.message(s).Heading
			if other, ok := seen[h]; ok {
				t.Errorf("%s: %s and %s are both headed %q", l, s, other, h)
			}
			seen[h] = s
		}
	}
}
