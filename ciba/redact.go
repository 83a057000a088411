package ciba

import (
	"fmt"
	"log/slog"
)

// The types below hold secrets or personal data, so printing and logging them
// shows no more than what they are. Fields are for those who ask for them.

// String hides the credentials.
func (c Config) String() string {
	return fmt.Sprintf("ciba.Config{Issuer: %q, ClientID: %q, …}", c.Issuer, c.ClientID)
}

// GoString hides the credentials.
func (c Config) GoString() string { return c.String() }

// LogValue hides the credentials.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String tells the issuer and the client id.
func (c *Client) String() string {
	if c == nil {
		return "ciba.Client(nil)"
	}
	return fmt.Sprintf("ciba.Client{Issuer: %q, ClientID: %q}", c.cfg.Issuer, c.cfg.ClientID)
}

// GoString hides the credentials.
func (c *Client) GoString() string { return c.String() }

// LogValue hides the credentials.
func (c *Client) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String hides the hint and the user code.
func (Request) String() string { return "ciba.Request{…}" }

// GoString hides the hint and the user code.
func (r Request) GoString() string { return r.String() }

// LogValue hides the hint and the user code.
func (r Request) LogValue() slog.Value { return slog.StringValue(r.String()) }

// String hides the auth_req_id.
func (s Started) String() string {
	return fmt.Sprintf("ciba.Started{ExpiresIn: %v, Interval: %v, …}", s.ExpiresIn, s.Interval)
}

// GoString hides the auth_req_id.
func (s Started) GoString() string { return s.String() }

// LogValue hides the auth_req_id.
func (s Started) LogValue() slog.Value { return slog.StringValue(s.String()) }

// String hides whom and what the token is expected to name.
func (Expect) String() string { return "ciba.Expect{…}" }

// GoString hides whom and what the token is expected to name.
func (e Expect) GoString() string { return e.String() }

// LogValue hides whom and what the token is expected to name.
func (e Expect) LogValue() slog.Value { return slog.StringValue(e.String()) }

// String hides who it is.
func (Identity) String() string { return "ciba.Identity{…}" }

// GoString hides who it is.
func (i Identity) GoString() string { return i.String() }

// LogValue hides who it is.
func (i Identity) LogValue() slog.Value { return slog.StringValue(i.String()) }

// String hides whom the hint names.
func (MitIDHint) String() string { return "ciba.MitIDHint{…}" }

// GoString hides whom the hint names.
func (h MitIDHint) GoString() string { return h.String() }

// LogValue hides whom the hint names.
func (h MitIDHint) LogValue() slog.Value { return slog.StringValue(h.String()) }
