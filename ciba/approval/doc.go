// Package approval is the domain of stepup: what an approval is, which states
// it goes through, what it is bound to, and who collects the answer. It asks
// package ciba for the protocol and a [Store] for memory, and knows neither
// Redis nor HTTP.
//
// An [Engine] starts approvals, joins requests that wait for the same one,
// polls the provider for all of them together with the other engines on the
// same store, and lets one request use a one-time approval.
//
// # Binding
//
// An approval is found only under its key, a keyed hash over everything that
// it is good for ([Binding]). A request that differs in anything has another
// key and finds nothing; there is no comparison that could be forgotten.
//
// # What the store sees
//
// Nothing that its reader could use. Persons and sessions are keyed hashes.
// What the pollers need, and the proof that an approval was granted, are
// encrypted and authenticated under keys that the engines share; parked
// request bodies under a key that only the client's session secret opens. All
// are bound to their record, so that they cannot be moved to another. A writer
// of the store can take approvals away, but not make one; by putting back what
// was there before, they can make a spent one good again, for the session that
// it belongs to and for the minutes that it was good for.
//
// # Time
//
// The engine measures pauses with its own clock and lets the store decide when
// something is over, so that engines whose clocks differ agree.
package approval
