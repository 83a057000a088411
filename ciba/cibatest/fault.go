package cibatest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Fault is a misbehaviour of the server. A call meets the oldest fault that
// matches it, and no other.
//
// There are two kinds. A fault with Token set spoils the tokens of an approved
// request; it is met, and counted, only where tokens are given. Any other
// fault delays or replaces an endpoint's answer.
type Fault struct {
	// Endpoint is where the fault happens. It is required, and for a fault of
	// tokens it is EndpointToken.
	Endpoint Endpoint

	// AuthReqID limits the fault to calls that send this auth_req_id; empty
	// means all calls. Discovery, JWKS and start have none.
	AuthReqID string

	// Count is how many calls meet the fault; 0 means all until it is removed.
	Count int

	// Latency delays the call. It ends early, with a dropped connection, when
	// the caller gives up.
	Latency time.Duration

	// Answer is what is wrong with the answer.
	Answer Answer

	// After makes Latency, and an Answer that replaces, happen after the
	// request was handled: the person is asked, tokens are spent, but the
	// answer comes late or is lost. Without it nothing was handled.
	After bool

	// Status is the HTTP status of AnswerStatus (default 503), AnswerHTML
	// (default 200) and AnswerRedirect (default 307).
	Status int

	// RetryAfter, if not empty, is the Retry-After header of AnswerStatus and
	// AnswerHTML, as it is: seconds or an HTTP date.
	RetryAfter string

	// Token is what is wrong with the tokens.
	Token TokenFault

	// Claim names the claim that TokenMissingClaim leaves out.
	Claim string
}

// Answer says what is wrong with an answer.
type Answer int

// The faults of an answer.
const (
	// AnswerAsIs is the right answer, for faults that are only latency.
	AnswerAsIs Answer = iota

	// AnswerDrop closes the connection instead of answering.
	AnswerDrop

	// AnswerStatus is an HTTP status with a few words of plain text.
	AnswerStatus

	// AnswerHTML is a page of HTML, as of a proxy on the way.
	AnswerHTML

	// AnswerRedirect redirects to the same URL. A client that follows it there
	// sends its credentials once more, which [Server.Log] shows.
	AnswerRedirect

	// AnswerBrokenJSON is the right answer without its last byte. The request
	// is always handled.
	AnswerBrokenJSON

	// AnswerOversize is the right answer behind more than 1 MiB of white space:
	// good JSON for those who read without a limit. The request is always
	// handled.
	AnswerOversize

	answers // how many there are
)

// replaces says whether the right answer is not needed.
func (a Answer) replaces() bool {
	return a == AnswerDrop || a == AnswerStatus || a == AnswerHTML || a == AnswerRedirect
}

// TokenFault says what is wrong with the tokens of a response. Everything else
// about them stays right, the signature included where the fault is in a claim.
type TokenFault int

// The faults of tokens.
const (
	// TokenAsIs is no fault.
	TokenAsIs TokenFault = iota

	// TokenForeignKey signs by a key that is not in the JWKS, under the kid of
	// the right one.
	TokenForeignKey

	// TokenEncKey signs by the JWKS's encryption key, under that key's kid.
	TokenEncKey

	// TokenAlgNone does not sign, and says so in alg.
	TokenAlgNone

	// TokenHS256 signs with the client secret as an HMAC key.
	TokenHS256

	// TokenWrongAud is for another client.
	TokenWrongAud

	// TokenExtraAud is for this client and another one, without azp.
	TokenExtraAud

	// TokenWrongIss is from another issuer.
	TokenWrongIss

	// TokenWrongUUID is of another person.
	TokenWrongUUID

	// TokenWrongText shows that the person read another text.
	TokenWrongText

	// TokenExpired has an exp that passed a second ago.
	TokenExpired

	// TokenEarlyAuthTime has an auth_time one hour before the request came in.
	TokenEarlyAuthTime

	// TokenWrongAtHash belongs to another access token.
	TokenWrongAtHash

	// TokenWrongNonce brings another ciba_nonce than the one sent, in the
	// response and, so that the ID token shows it too, as a claim.
	TokenWrongNonce

	// TokenMissingClaim leaves out the claim that Fault.Claim names.
	TokenMissingClaim

	tokenFaults // how many there are
)

// fault is a Fault that was injected.
type fault struct {
	Fault
	left int
}

// Inject makes the server misbehave until the fault's count is used up or
// remove is called, which may be done at any time and more than once. It
// panics when the fault makes no sense: without a known endpoint, of both
// kinds or of neither, with a negative count or latency, with a status that is
// none, or with a claim where none is left out and the other way round.
func (s *Server) Inject(f Fault) (remove func()) {
	if err := f.check(); err != nil {
		panic("cibatest: " + err.Error())
	}
	injected := &fault{Fault: f, left: f.Count}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, injected)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.faults = slices.DeleteFunc(s.faults, func(g *fault) bool { return g == injected })
	}
}

func (f Fault) check() error {
	ofAnswer := f.Latency != 0 || f.Answer != AnswerAsIs || f.After || f.Status != 0 || f.RetryAfter != ""
	ofToken := f.Token != TokenAsIs || f.Claim != ""
	switch {
	case !slices.Contains([]Endpoint{EndpointDiscovery, EndpointJWKS, EndpointStart, EndpointToken, EndpointCancel}, f.Endpoint):
		return fmt.Errorf("checking fault: unknown endpoint %q", f.Endpoint)
	case f.Count < 0 || f.Latency < 0:
		return fmt.Errorf("checking fault: negative count or latency")
	case f.Answer < 0 || f.Answer >= answers || f.Token < 0 || f.Token >= tokenFaults:
		return fmt.Errorf("checking fault: unknown constant")
	case ofAnswer == ofToken:
		return fmt.Errorf("checking fault: want either latency or answer, or token")
	case ofToken && f.Endpoint != EndpointToken:
		return fmt.Errorf("checking fault: tokens come from the token endpoint only")
	case (f.Token == TokenMissingClaim) != (f.Claim != ""):
		return fmt.Errorf("checking fault: TokenMissingClaim and Claim go together")
	case ofAnswer && f.Latency == 0 && f.Answer == AnswerAsIs:
		return fmt.Errorf("checking fault: neither latency nor answer")
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("checking fault: status %d is not a final one", f.Status)
	}
	return nil
}

// takeFault finds the oldest fault that matches and counts it. Without one it
// returns the zero Fault, which changes nothing. It is called with the lock.
func (s *Server) takeFault(match func(Fault) bool) Fault {
	i := slices.IndexFunc(s.faults, func(f *fault) bool { return match(f.Fault) })
	if i < 0 {
		return Fault{}
	}
	f := s.faults[i]
	if f.Count > 0 {
		if f.left--; f.left == 0 {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
	}
	return f.Fault
}

// wait is the latency. It aborts the call when the caller gives up.
func (f Fault) wait(ctx context.Context) {
	if f.Latency == 0 {
		return
	}
	timer := time.NewTimer(f.Latency)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		panic(http.ErrAbortHandler)
	}
}

// replacement is the answer of a fault that does not need the right one.
func (f Fault) replacement(r *http.Request) answer {
	a := answer{contentType: "text/plain; charset=utf-8", header: make(http.Header)}
	switch f.Answer {
	case AnswerDrop:
		return answer{}
	case AnswerStatus:
		a.status = http.StatusServiceUnavailable
		a.body = []byte("simulated trouble\n")
	case AnswerHTML:
		a.status = http.StatusOK
		a.contentType = "text/html; charset=utf-8"
		a.body = []byte("<!DOCTYPE html>\n<title>Trouble</title>\n<p>Simulated trouble.</p>\n")
	case AnswerRedirect:
		a.status = http.StatusTemporaryRedirect
		a.header.Set("Location", r.URL.EscapedPath())
	}
	if f.Status != 0 {
		a.status = f.Status
	}
	if f.RetryAfter != "" {
		a.header.Set("Retry-After", f.RetryAfter)
	}
	return a
}

// spoil is what becomes of the right answer.
func (f Fault) spoil(r *http.Request, a answer) answer {
	switch {
	case f.Answer.replaces():
		return f.replacement(r)
	case f.Answer == AnswerBrokenJSON && len(a.body) > 0:
		a.body = a.body[:len(a.body)-1]
	case f.Answer == AnswerOversize:
		a.body = append([]byte(strings.Repeat(" ", 1<<20)), a.body...)
	}
	return a
}

// signIDToken applies a fault of tokens and signs.
func (s *Server) signIDToken(m minting, claims map[string]any, resp *tokenResponse) string {
	const other = "00000000-0000-4000-8000-000000000000"
	signer, kid := m.keys.token, m.keys.token.kid
	switch m.fault.Token {
	case TokenForeignKey:
		signer = pooledKey(poolForeign)
	case TokenEncKey:
		signer, kid = m.keys.enc, m.keys.enc.kid
	case TokenAlgNone:
		return sign(jwt.SigningMethodNone, "JWT", kid, jwt.UnsafeAllowNoneSignatureType, claims)
	case TokenHS256:
		return sign(jwt.SigningMethodHS256, "JWT", kid, []byte(s.cfg.ClientSecret), claims)
	case TokenWrongAud:
		claims["aud"] = other
	case TokenExtraAud:
		claims["aud"] = []string{s.cfg.ClientID, other}
	case TokenWrongIss:
		claims["iss"] = s.cfg.Issuer + "/other"
	case TokenWrongUUID:
		claims["mitid.uuid"] = derivedUUID("other", m.q.UUID)
	case TokenWrongText:
		claims["mitid.reference_text"] = m.q.Text + "."
	case TokenExpired:
		claims["exp"] = m.now.Unix() - 1
	case TokenEarlyAuthTime:
		claims["auth_time"] = m.q.CreatedAt.Add(-time.Hour).Unix()
	case TokenWrongAtHash:
		claims["at_hash"] = atHash(resp.AccessToken + ".")
	case TokenWrongNonce:
		resp.Nonce = m.q.Nonce + "."
		claims["ciba_nonce"] = resp.Nonce
	case TokenMissingClaim:
		delete(claims, m.fault.Claim)
	}
	return signRS256("JWT", kid, signer, claims)
}
