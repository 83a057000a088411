package ciba

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/url"
)

// ClientAuth authenticates the client in a request to the backchannel
// authentication or token endpoint (CIBA Core 1.0 §7.1, OpenID Connect Core 1.0
// §9). Implementations must be safe for concurrent use, and must hide what they
// hold when they are printed.
//
// An implementation that also has a method
//
//	Method() string
//
// that tells its name, such as "private_key_jwt", is compared with the
// token_endpoint_auth_methods_supported that discovery lists.
type ClientAuth interface {
	// Authenticate adds to the form or to the header what proves who the
	// client is. It is called once for every request, so an assertion is never
	// sent twice. Its errors end the call, as [ErrConfiguration] but for those
	// that are an [*Error] themselves.
	Authenticate(ctx context.Context, issuer, clientID string, form url.Values, header http.Header) error
}

// ClientSecretPost authenticates with client_id and client_secret in the form
// (client_secret_post, RFC 6749 §2.3.1).
func ClientSecretPost(secret string) ClientAuth {
	return &clientSecret{method: "client_secret_post", reveal: func() string { return secret }}
}

// ClientSecretBasic authenticates with the Authorization header
// (client_secret_basic, RFC 6749 §2.3.1).
func ClientSecretBasic(secret string) ClientAuth {
	return &clientSecret{method: "client_secret_basic", reveal: func() string { return secret }}
}

// clientSecret is either way to send a secret.
type clientSecret struct {
	method string

	// reveal gives the secret. It is a function because printing one shows an
	// address at most, whatever the verb and whoever holds the value.
	reveal func() string
}

// Method is the name of the method in provider metadata.
func (a *clientSecret) Method() string { return a.method }

// Authenticate implements [ClientAuth].
func (a *clientSecret) Authenticate(_ context.Context, _, clientID string, form url.Values, header http.Header) error {
	if a.method == "client_secret_post" {
		form.Set("client_id", clientID)
		form.Set("client_secret", a.reveal())
		return nil
	}
	// Both parts are form-encoded first: a colon in an id would otherwise move
	// the border between them.
	userpass := url.QueryEscape(clientID) + ":" + url.QueryEscape(a.reveal())
	header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(userpass)))
	return nil
}

// String hides the secret.
func (a *clientSecret) String() string { return "ciba.ClientAuth{" + a.method + "}" }

// GoString hides the secret.
func (a *clientSecret) GoString() string { return a.String() }

// LogValue hides the secret.
func (a *clientSecret) LogValue() slog.Value { return slog.StringValue(a.String()) }
