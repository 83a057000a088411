package approval

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"sync"
)

// keys are what an engine derives from the secret that all engines on a store
// share: one key for one purpose.
type keys struct {
	owner, session, binding, token, slot, address *macKey
	seal                                          cipher.AEAD
}

func deriveKeys(secret []byte) (keys, error) {
	if len(secret) < 16 {
		return keys{}, errors.New("the secret that protects the store has fewer than 16 bytes")
	}
	var k keys
	for purpose, out := range map[string]**macKey{
		"owner":   &k.owner,
		"session": &k.session,
		"binding": &k.binding,
		"token":   &k.token,
		"slot":    &k.slot,
		"address": &k.address,
	} {
		key, err := hkdf.Key(sha256.New, secret, nil, "stepup v1 "+purpose, sha256.Size)
		if err != nil {
			return keys{}, fmt.Errorf("deriving the %s key: %w", purpose, err)
		}
		*out = newMACKey(key)
	}
	sealKey, err := hkdf.Key(sha256.New, secret, nil, "stepup v1 seal", 32)
	if err != nil {
		return keys{}, fmt.Errorf("deriving the sealing key: %w", err)
	}
	k.seal, err = newAEAD(sealKey)
	return k, err
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// macKey makes keyed hashes over lists. It keeps hashes that have taken in the
// key, because every request needs some.
type macKey struct{ hashes sync.Pool }

// listHash is a keyed hash, and room for the list.
type listHash struct {
	hash.Hash
	list []byte
}

func newMACKey(key []byte) *macKey {
	k := new(macKey)
	k.hashes.New = func() any { return &listHash{Hash: hmac.New(sha256.New, key)} }
	return k
}

// sum is the hash over a list. Each part goes in behind its length, so that no
// two lists give the same input.
func (k *macKey) sum(parts ...string) [sha256.Size]byte {
	h := k.hashes.Get().(*listHash)
	defer k.hashes.Put(h)
	for _, p := range parts {
		h.list = binary.BigEndian.AppendUint64(h.list, uint64(len(p)))
		h.list = append(h.list, p...)
	}
	h.Reset()
	h.Write(h.list) // never fails
	clear(h.list)
	h.list = h.Sum(h.list[:0])
	sum := [sha256.Size]byte(h.list)
	h.list = h.list[:0]
	return sum
}

// tag is a hash over one part, for comparison.
func (k *macKey) tag(part string) Tag {
	sum := k.sum(part)
	return Tag(sum[:16])
}

// place is the additional data that ties sealed bytes to one field of one
// record.
func (r Ref) place(field string) []byte {
	out := make([]byte, 0, len(field)+1+len(r.Owner)+len(r.Key)+len(r.ID))
	out = append(out, field...)
	out = append(out, 0)
	out = append(out, r.Owner[:]...)
	out = append(out, r.Key[:]...)
	return append(out, r.ID...)
}

// seal encrypts bytes for one field of one record.
func seal(aead cipher.AEAD, r Ref, field string, plain []byte) []byte {
	return aead.Seal(nil, nil, plain, r.place(field))
}

// open undoes seal.
func open(aead cipher.AEAD, r Ref, field string, sealed []byte) ([]byte, error) {
	plain, err := aead.Open(nil, nil, sealed, r.place(field))
	if err != nil {
		return nil, fmt.Errorf("opening the %s: it was not sealed with this key for this approval", field)
	}
	return plain, nil
}

// formError says that what was sealed is not understood. It tells nothing of the
// content.
func formError(field string) error {
	return fmt.Errorf("opening the %s: its form is not known to this version", field)
}

// sealJSON is seal for a value.
func sealJSON(aead cipher.AEAD, r Ref, field string, v any) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("sealing the %s: %w", field, err)
	}
	return seal(aead, r, field, plain), nil
}

// openJSON undoes sealJSON.
func openJSON(aead cipher.AEAD, r Ref, field string, sealed []byte, v any) error {
	plain, err := open(aead, r, field, sealed)
	if err != nil {
		return err
	}
	if json.Unmarshal(plain, v) != nil {
		return formError(field)
	}
	return nil
}
