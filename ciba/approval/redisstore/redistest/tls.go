package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Certificates are a certificate authority of the test's own, and a certificate
// from it for 127.0.0.1, which is good for servers and for clients. They are
// files in PEM form.
type Certificates struct {
	CAFile, CertFile, KeyFile string
	Authorities               []byte // what is in CAFile
}

// NewCertificates makes an authority and a certificate.
func NewCertificates(t testing.TB) *Certificates {
	t.Helper()
	dir := t.TempDir()
	c := &Certificates{
		CAFile:   filepath.Join(dir, "ca.pem"),
		CertFile: filepath.Join(dir, "cert.pem"),
		KeyFile:  filepath.Join(dir, "key.pem"),
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "redistest CA"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	caKey := newKey(t)
	ca := sign(t, template, template, caKey, caKey)
	c.Authorities = writePEM(t, c.CAFile, "CERTIFICATE", ca)

	parent, err := x509.ParseCertificate(ca)
	if err != nil {
		t.Fatalf("reading a certificate: %v", err)
	}
	key := newKey(t)
	writePEM(t, c.CertFile, "CERTIFICATE", sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "redistest"},
		NotBefore:    template.NotBefore,
		NotAfter:     template.NotAfter,
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, parent, key, caKey))
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatalf("writing a key: %v", err)
	}
	writePEM(t, c.KeyFile, "PRIVATE KEY", der)
	return c
}

// Start is [Start] with TLS: the server speaks nothing else, and wants a
// certificate from its clients as well.
func (c *Certificates) Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := newServer(t, c, append([]string{"--save", "", "--appendonly", "no"}, args...)...)
	s.Restart(t)
	return s
}

// args say to a server where to listen, and how. Without certificates, that is
// without TLS.
func (c *Certificates) args(port int) []string {
	if c == nil {
		return []string{"--port", strconv.Itoa(port)}
	}
	return []string{
		"--port", "0", "--tls-port", strconv.Itoa(port), "--tls-ca-cert-file", c.CAFile,
		"--tls-cert-file", c.CertFile, "--tls-key-file", c.KeyFile, "--tls-auth-clients", "yes",
		"--tls-replication", "yes", "--tls-cluster", "yes",
	}
}

// scheme is that of the servers' URLs.
func (c *Certificates) scheme() string {
	if c == nil {
		return "redis"
	}
	return "rediss"
}

// config is that of the servers' clients, nil without certificates.
func (c *Certificates) config(t testing.TB) *tls.Config {
	t.Helper()
	if c == nil {
		return nil
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.Authorities)
	cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("making a key: %v", err)
	}
	return key
}

// sign returns a certificate in DER form.
func sign(t testing.TB, template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatalf("signing a certificate: %v", err)
	}
	return der
}

func writePEM(t testing.TB, file, kind string, der []byte) []byte {
	t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return text
}
