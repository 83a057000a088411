package approval

import (
	"crypto/cipher"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// outcome is the proof in the store that an approval was granted. It is sealed.
type outcome struct {
	uuid, transactionID string
	approvedAt          time.Time
	// goodUntil is when the store is to end the approval. The store knows; this
	// is for a store that somebody has set back.
	goodUntil time.Time
}

// outcomeForm is the first byte of an outcome, and another one for each layout.
// It is not JSON, as every one-time request that passes reads one.
const outcomeForm = 1

func sealOutcome(aead cipher.AEAD, r Ref, o outcome) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(outcomeForm)
	for _, text := range []string{o.uuid, o.transactionID} {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(text)) })
	}
	for _, at := range []time.Time{o.approvedAt, o.goodUntil} {
		b.AddUint64(uint64(at.UnixMilli()))
	}
	plain, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("sealing the %s: %w", outcomeField, err)
	}
	return seal(aead, r, outcomeField, plain), nil
}

// openOutcome undoes sealOutcome. Its error tells nothing of the content.
func openOutcome(aead cipher.AEAD, r Ref, sealed []byte) (outcome, error) {
	plain, err := open(aead, r, outcomeField, sealed)
	if err != nil {
		return outcome{}, err
	}
	var form uint8
	var uuid, transactionID cryptobyte.String
	var approvedAt, goodUntil uint64
	s := cryptobyte.String(plain)
	if !s.ReadUint8(&form) || form != outcomeForm ||
		!s.ReadUint16LengthPrefixed(&uuid) || !s.ReadUint16LengthPrefixed(&transactionID) ||
		!s.ReadUint64(&approvedAt) || !s.ReadUint64(&goodUntil) || !s.Empty() {
		return outcome{}, formError(outcomeField)
	}
	return outcome{
		uuid:          string(uuid),
		transactionID: string(transactionID),
		approvedAt:    time.UnixMilli(int64(approvedAt)),
		goodUntil:     time.UnixMilli(int64(goodUntil)),
	}, nil
}
