package cibatest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"strings"
	"sync"
)

// key is an RSA key with the names that the broker's JWKS gives it.
type key struct {
	private  *rsa.PrivateKey
	kid, x5t string
}

// keySet is what a server signs with. Its JWKS shows three of the keys, in the
// order of the recording.
type keySet struct {
	transaction, token, enc *key
	rotations               int
}

// Places in the pool of keys; rotated keys follow.
const (
	poolTransaction = iota
	poolToken
	poolEnc
	poolForeign
	poolRotated
)

func newKeySet() keySet {
	return keySet{
		transaction: pooledKey(poolTransaction),
		token:       pooledKey(poolToken),
		enc:         pooledKey(poolEnc),
	}
}

// RotateKey replaces the key that signs ID tokens by a new one with a new kid.
// The old key leaves the JWKS at once.
func (s *Server) RotateKey() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys.token = pooledKey(poolRotated + s.keys.rotations)
	s.keys.rotations++
}

// pool holds the keys of all servers of the process, for their making takes
// longer than most tests.
var pool struct {
	sync.Mutex
	keys map[int]*key
}

func pooledKey(n int) *key {
	pool.Lock()
	defer pool.Unlock()
	if k := pool.keys[n]; k != nil {
		return k
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic("cibatest: making an RSA key: " + err.Error())
	}
	// The broker's kid is the SHA-1 thumbprint of a certificate; without one,
	// that of the public key has the same form.
	sum := sha1.Sum(x509.MarshalPKCS1PublicKey(&private.PublicKey))
	k := &key{
		private: private,
		kid:     strings.ToUpper(hex.EncodeToString(sum[:])),
		x5t:     base64.RawURLEncoding.EncodeToString(sum[:]),
	}
	if pool.keys == nil {
		pool.keys = make(map[int]*key)
	}
	pool.keys[n] = k
	return k
}

// jwk is a member of the JWKS (RFC 7517 §4). As in the broker's, there is no alg.
type jwk struct {
	Kty string `json:"kty"`
	Use string `json:"use"`
	Kid string `json:"kid"`
	X5t string `json:"x5t"`
	E   string `json:"e"`
	N   string `json:"n"`
}

func (k *key) jwk(use string) jwk {
	encode := base64.RawURLEncoding.EncodeToString
	public := k.private.PublicKey
	return jwk{
		Kty: "RSA", Use: use, Kid: k.kid, X5t: k.x5t,
		E: encode(big.NewInt(int64(public.E)).Bytes()),
		N: encode(public.N.Bytes()),
	}
}

func (s keySet) jwks() map[string][]jwk {
	return map[string][]jwk{"keys": {s.transaction.jwk("sig"), s.token.jwk("sig"), s.enc.jwk("enc")}}
}
