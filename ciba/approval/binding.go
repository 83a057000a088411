package approval

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
)

// Binding is everything that an approval is good for. Approvals are found only
// by it: a request that differs in any part finds none.
type Binding struct {
	// Session is the client's.
	Session Session

	// User is who asks, as the application knows them.
	User string

	// UUID is whose MitID is asked.
	UUID string

	// Policy names the rule that wants the approval, with everything about the
	// rule that a person who approves relies on: a rule that has changed is
	// another one.
	Policy string

	// Host is the name under which the client reached the route. A person is
	// asked for one thing at a time under a policy whatever the host.
	Host string

	// Request is the fingerprint of the one request that a one-time approval
	// is for; nil for approvals that are remembered.
	Request []byte
}

// oneTime tells whether an approval under this binding may be used just once.
func (b Binding) oneTime() bool { return b.Request != nil }

// check refuses a binding in which something is missing: an empty part would
// make unlike requests alike.
func (b Binding) check() error {
	switch {
	case !b.Session.Valid():
		return errors.New("binding has no session")
	case b.User == "":
		return errors.New("binding has no user")
	case b.UUID == "":
		return errors.New("binding has no MitID UUID")
	case b.Policy == "":
		return errors.New("binding has no policy")
	case b.oneTime() && len(b.Request) == 0:
		return errors.New("binding has an empty fingerprint")
	}
	return nil
}

// place is where the records of this binding are.
func (k keys) place(b Binding) (Tag, Key) { return k.ownerOf(b.UUID), k.keyOf(b) }

// keyOf is a binding's key: no two have the same.
func (k keys) keyOf(b Binding) Key {
	kind := "remembered"
	if b.oneTime() {
		kind = "one-time"
	}
	return k.binding.sum(
		string(b.Session.secret[:]),
		b.User,
		canonicalUUID(b.UUID),
		b.Policy,
		b.Host,
		kind,
		string(b.Request),
	)
}

// slotOf is what a person can be asked for once at a time: whatever one policy
// wants to be approved.
func (k keys) slotOf(b Binding) Tag { return k.slot.tag(b.Policy) }

// ownerOf groups a person's records by the MitID that would be asked, not by
// the user name: two names for one phone are one owner.
func (k keys) ownerOf(uuid string) Tag { return k.owner.tag(canonicalUUID(uuid)) }

// addressOf is the budget that an address belongs to. Whoever has an IPv6
// address has the /64 around it.
func (k keys) addressOf(ip netip.Addr) Tag {
	bits := 128
	if ip = ip.Unmap().WithZone(""); ip.Is6() {
		bits = 64
	}
	if prefix, err := ip.Prefix(min(bits, ip.BitLen())); err == nil {
		ip = prefix.Addr()
	}
	return k.address.tag(string(ip.AsSlice()))
}

// canonicalUUID folds the case of a UUID, the only freedom in its spelling
// (RFC 9562 §4).
func canonicalUUID(uuid string) string { return strings.ToLower(uuid) }

// Handle names one approval to a page that was made for it. It tells nothing
// and gives nothing to a client without the session and the user.
func (a Approval) Handle() string {
	return a.ID + "." + a.Key.String()
}

// parseHandle undoes Handle.
func parseHandle(handle string) (id string, key Key, ok bool) {
	id, encoded, found := strings.Cut(handle, ".")
	if !found || len(encoded) != base64.RawURLEncoding.EncodedLen(len(key)) {
		return "", Key{}, false
	}
	raw, err := strictBase64.DecodeString(encoded)
	if err != nil || id == "" {
		return "", Key{}, false
	}
	return id, Key(raw), true
}
