package redisstore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// tls returns how to connect to rediss:// URLs.
func (o Options) tls() (*tls.Config, error) {
	// No ServerName: each connection has its own host to check.
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.Authorities != nil {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(o.Authorities) {
			return nil, errors.New("the authorities for Redis have no certificate in PEM form")
		}
	}
	if o.CertFile == "" && o.KeyFile == "" {
		return config, nil
	}
	if o.CertFile == "" || o.KeyFile == "" {
		return nil, errors.New("a certificate for Redis and its key go together")
	}
	if _, err := o.certificate(nil); err != nil {
		return nil, err
	}
	config.GetClientCertificate = o.certificate
	return config, nil
}

// certificate reads what is shown to servers.
func (o Options) certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate for Redis: %w", err)
	}
	return &cert, nil
}
