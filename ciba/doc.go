// Package ciba is a client for OpenID Connect Client-Initiated Backchannel
// Authentication (CIBA Core 1.0) in poll mode, made for MitID approvals through
// Signaturgruppen's broker.
//
// The client asks a provider to ask a person, who answers on a device of their
// own, and then collects the answer:
//
//  1. [New] makes a [Client]. It touches no network: the provider's endpoints
//     and algorithms come from its discovery document when they are first
//     needed, and every one of them can be configured instead.
//  2. [Client.Start] sends the authentication request. [MitIDHint] makes the
//     login_hint_token that says whom to ask, and the text to show them. Each
//     start rings somebody's phone, so it is never retried.
//  3. [Client.Poll] makes one token request. [ErrPending] and [ErrSlowDown] say
//     to ask again later, [ErrUnavailable] that there was no answer, and every
//     other error is final. The caller owns the loop: it must never poll twice
//     at a time for one auth_req_id, nor sooner than the interval allows.
//  4. [Client.Verify] checks the ID token: that the provider signed it, for this
//     client, just now, and that it speaks of the person, the text and the
//     nonce that were sent. Only its [Identity] is to be trusted.
//  5. [Client.Cancel] withdraws a request that nobody waits for any more.
//
// The provider gives a final answer once. A caller that loses it has lost the
// approval, and must start again rather than assume one.
//
// # Errors
//
// Every error matches one of the sentinels with [errors.Is]; [Error] and
// [TokenError] carry the details. No error text holds personal data, tokens,
// secrets or an auth_req_id.
//
// # Providers
//
// Any provider does that announces poll mode by discovery, takes what
// [MitIDHint] makes as its login_hint_token, and answers with ID tokens that
// carry the broker's claims: idp, idtoken_type, mitid.uuid and
// mitid.reference_text are required of every token.
package ciba
