package approval

import (
	"context"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
)

// Parked is a request's content that waits for an approval, so that a person
// does not have to send it again.
type Parked struct {
	// Request is the fingerprint of the request that the content is of.
	Request []byte `json:"request"`
	// Header are the headers that describe the body.
	Header map[string][]string `json:"header"`
	Body   []byte              `json:"body"`
}

// Park keeps a request's content beside its approval, readable only with the
// client's session.
func (e *Engine) Park(ctx context.Context, s Session, a Approval, p Parked) error {
	aead, err := s.parkingKey(a.Ref)
	if err != nil {
		return err
	}
	sealed, err := sealJSON(aead, a.Ref, parkedField, p)
	if err != nil {
		return err
	}
	if err := e.store.Park(ctx, a.Ref, sealed); err != nil {
		return storeError("parking a request", err)
	}
	return nil
}

// Parked returns what was parked. It goes when the approval is used, or is
// forgotten. Parked returns [ErrNotFound] where nothing is parked.
func (e *Engine) Parked(ctx context.Context, s Session, a Approval) (Parked, error) {
	sealed, err := e.store.Parked(ctx, a.Ref)
	if err != nil {
		return Parked{}, storeError("reading a parked request", err)
	}
	aead, err := s.parkingKey(a.Ref)
	if err != nil {
		return Parked{}, err
	}
	var p Parked
	err = openJSON(aead, a.Ref, parkedField, sealed, &p)
	return p, err
}

// Unpark forgets what was parked, and returns [ErrNotFound] where nothing is:
// of several who go on with the same request, one may.
func (e *Engine) Unpark(ctx context.Context, a Approval) error {
	if err := e.store.Unpark(ctx, a.Ref); err != nil {
		return storeError("forgetting a parked request", err)
	}
	return nil
}

const parkedField = "parked request"

// parkingKey is for one approval's content. It needs the client's secret, so
// that no gateway can read what is parked while the client is away.
func (s Session) parkingKey(r Ref) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, s.secret[:], r.Key[:], "stepup v1 parked", 32)
	if err != nil {
		return nil, fmt.Errorf("deriving the parking key: %w", err)
	}
	return newAEAD(key)
}
