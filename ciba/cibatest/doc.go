// Package cibatest is an OpenID CIBA provider to test against, as
// net/http/httptest is a server to test against. It behaves as
// Signaturgruppen's MitID broker does, as strictly, and misbehaves on demand.
//
// A [Server] is an [http.Handler]. Go tests reach it in-process, without a
// network and inside a testing/synctest bubble, by [Server.Transport], and play
// the person with [Server.Approve] and [Server.Deny]. A process that serves it
// over HTTP has a phone for humans at /sim/.
//
// Under the path of the issuer are the endpoints that the broker has:
//
//	GET    /.well-known/openid-configuration
//	GET    /.well-known/openid-configuration/jwks
//	POST   /connect/ciba
//	POST   /connect/token
//	DELETE /api/v1/ciba/{auth_req_id}
//
// Under the root of the server is the simulator's own part:
//
//	GET  /sim/                                  the phone, a page that needs no JavaScript
//	GET  /sim/requests                          waiting requests as JSON; all of them with ?all=1
//	POST /sim/requests/{auth_req_id}/approve    204, or 303 to /sim/ for a browser's form
//	POST /sim/requests/{auth_req_id}/deny       likewise
//	GET  /sim/log                               the protocol calls as JSON
//
// Whoever reaches /sim/ can approve for everybody. The server holds no real
// identities, and all that it ever saw stays in memory until it is dropped: it
// is for tests and demonstrations only.
package cibatest
