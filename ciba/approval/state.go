package approval

import (
	"fmt"
	"slices"
)

// State is where an approval stands.
type State string

// The states of an approval. Starting, Pending and Approved are live; the
// others are ended, and nothing leads out of them.
const (
	// Starting: the record exists, the provider's answer to the
	// authentication request does not, yet.
	Starting State = "starting"
	// Pending: the person has been asked.
	Pending State = "pending"
	// Approved: a verified ID token says yes, and the approval may be used.
	Approved State = "approved"
	// Spent: a one-time approval was used.
	Spent State = "spent"
	// Denied: the person, or the provider for them, said no.
	Denied State = "denied"
	// Expired: nobody answered in time, or nobody used the answer in time.
	Expired State = "expired"
	// Cancelled: the person, or an operator, called it off here.
	Cancelled State = "cancelled"
	// Failed: it ended without an answer that can be trusted; Reason says why.
	Failed State = "failed"
)

// Live tells whether the state can still change.
func (s State) Live() bool { return s == Starting || s == Pending || s == Approved }

// Waiting tells whether the person's answer is still out.
func (s State) Waiting() bool { return s == Starting || s == Pending }

// Lapsed is how a live state reads when it has outlasted its time: a start
// that nobody finished has failed, everything else has expired.
func (s State) Lapsed() (State, Reason) {
	if s == Starting {
		return Failed, ReasonInterrupted
	}
	return Expired, ""
}

// Event is what can happen to an approval.
type Event string

// The events.
const (
	// EventStarted: the provider acknowledged the authentication request.
	EventStarted Event = "started"
	// EventSlow: the provider wants longer intervals.
	EventSlow Event = "slow"
	// EventApprove: a verified ID token came.
	EventApprove Event = "approve"
	// EventDeny: the provider reported a refusal.
	EventDeny Event = "deny"
	// EventExpire: its time is over.
	EventExpire Event = "expire"
	// EventCancel: it was called off.
	EventCancel Event = "cancel"
	// EventFail: it cannot be brought to a good end.
	EventFail Event = "fail"
	// EventSpend: a request used it.
	EventSpend Event = "spend"
)

// transitions is the one table of what may follow what. Both stores apply it
// through [Event.From] and [Event.To].
var transitions = map[Event]struct {
	from []State
	to   State
}{
	EventStarted: {[]State{Starting}, Pending},
	EventSlow:    {[]State{Pending}, Pending},
	EventApprove: {[]State{Pending}, Approved},
	EventDeny:    {[]State{Starting, Pending}, Denied},
	EventExpire:  {[]State{Starting, Pending, Approved}, Expired},
	EventCancel:  {[]State{Starting, Pending, Approved}, Cancelled},
	EventFail:    {[]State{Starting, Pending}, Failed},
	EventSpend:   {[]State{Approved}, Spent},
}

// From lists the states in which the event may happen. Callers must not
// change the slice.
func (e Event) From() []State { return transitions[e].from }

// To is the state that follows the event.
func (e Event) To() State { return transitions[e].to }

// Allowed tells whether the event may happen in state s.
func (e Event) Allowed(s State) bool { return slices.Contains(transitions[e].from, s) }

// Reason says why an approval ended as it did. It comes from a closed set, has
// no spaces, and may be shown, logged and counted.
type Reason string

// The reasons. An ended approval whose state says it all has none.
const (
	// ReasonUnavailable: the provider could not be reached to start it, or its
	// answer to the start was lost.
	ReasonUnavailable Reason = "provider_unavailable"
	// ReasonMisconfigured: the provider does not accept this client or its
	// requests.
	ReasonMisconfigured Reason = "misconfigured"
	// ReasonProvider: the provider ended it with an error of its own.
	ReasonProvider Reason = "provider_error"
	// ReasonUnknownUser: the provider does not know whom to ask.
	ReasonUnknownUser Reason = "unknown_user"
	// ReasonVerification: the ID token failed a check.
	ReasonVerification Reason = "verification_failed"
	// ReasonAnswerLost: the provider gave its final answer, and it did not
	// arrive here.
	ReasonAnswerLost Reason = "answer_lost"
	// ReasonInterrupted: the gateway that was starting it has gone, or could not
	// go on.
	ReasonInterrupted Reason = "interrupted"
	// ReasonLimited: a budget was spent.
	ReasonLimited Reason = "limited"
	// ReasonUnasked: there was trouble with the store before anybody was asked.
	ReasonUnasked Reason = "not_asked"
	// ReasonAbandoned: nobody waited for the answer any more.
	ReasonAbandoned Reason = "abandoned"
	// ReasonUnreadable: the record cannot be decrypted; the key has changed,
	// or somebody has changed the record.
	ReasonUnreadable Reason = "unreadable"
)

// TransitionError is returned for an event that the approval's state does not
// allow.
type TransitionError struct {
	Event Event
	State State
}

// Error tells the event and the state.
func (e *TransitionError) Error() string {
	return fmt.Sprintf("approval is %s: cannot %s it", e.State, e.Event)
}
