package approval

import (
	"strings"
	"testing"
	"time"
)

func TestOutcome_openedIsWhatWasSealed(t *testing.T) {
	k, err := deriveKeys([]byte("a secret for tests"))
	if err != nil {
		t.Fatal(err)
	}
	ref := Ref{ID: "id"}
	for name, o := range map[string]outcome{
		"whole": {
			uuid: "7c2b0d8e-6f0a-4b6e-9d53-0f6f0d6b1a11", transactionID: "transaction",
			approvedAt: time.UnixMilli(1_790_000_000_000), goodUntil: time.UnixMilli(1_790_000_120_250),
		},
		"nothing": {approvedAt: time.UnixMilli(0), goodUntil: time.UnixMilli(0)},
		"no time": {approvedAt: time.UnixMilli(time.Time{}.UnixMilli()), goodUntil: time.UnixMilli(-1)},
	} {
		sealed, err := sealOutcome(k.seal, ref, o)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := openOutcome(k.seal, ref, sealed); err != nil || got != o {
			t.Errorf("%s: %+v, error %v; want %+v", name, got, err, o)
		}
	}
	if _, err := sealOutcome(k.seal, ref, outcome{uuid: strings.Repeat("x", 1<<16)}); err == nil {
		t.Error("an outcome that is too long was sealed")
	}
}

// What another version has sealed must not be half understood.
func TestOutcome_inAnotherFormIsRefused(t *testing.T) {
	k, err := deriveKeys([]byte("a secret for tests"))
	if err != nil {
		t.Fatal(err)
	}
	ref := Ref{ID: "id"}
	sealed, err := sealOutcome(k.seal, ref, outcome{
		uuid: "uuid", transactionID: "transaction", approvedAt: time.UnixMilli(1), goodUntil: time.UnixMilli(2),
	})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := open(k.seal, ref, outcomeField, sealed)
	if err != nil {
		t.Fatal(err)
	}
	// Whoever changes the layout changes outcomeForm: approvals live through an
	// upgrade.
	const want = "\x01\x00\x04uuid\x00\x0btransaction\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02"
	if string(plain) != want {
		t.Errorf("the layout is %q", plain)
	}
	refuse := func(name string, plain []byte) {
		t.Helper()
		o, err := openOutcome(k.seal, ref, seal(k.seal, ref, outcomeField, plain))
		if err == nil || o != (outcome{}) {
			t.Errorf("%s: %+v, error %v", name, o, err)
		} else if strings.Contains(err.Error(), "uuid") {
			t.Errorf("%s: the error tells of the content: %v", name, err)
		}
	}
	for n := range plain {
		refuse("cut short", plain[:n])
	}
	refuse("with more behind it", append(plain[:len(plain):len(plain)], 0))
	refuse("of the next form", append([]byte{outcomeForm + 1}, plain[1:]...))
	refuse("in JSON", []byte(`{"uuid":"uuid"}`))
}
