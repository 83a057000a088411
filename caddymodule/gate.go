package caddymodule

import (
	"bytes"
	"crypto/rand"
	"errors"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-stepup/stepup/caddymodule/page"
	"github.com/caddy-stepup/stepup/caddymodule/text"
	"github.com/caddy-stepup/stepup/ciba/approval"
)

// visit is one request at the gate.
type visit struct {
	*Handler
	w http.ResponseWriter
	r *http.Request
	signals

	engine     *approval.Engine
	session    approval.Session
	newSession bool // the client does not have it yet

	user, uuid string

	// body is what was read of a request that needs an approval of its own,
	// hasBody tells that it was.
	body    []byte
	hasBody bool
	print   []byte // the request's fingerprint, once it is known

	// What the request takes of this process's memory.
	seated bool  // it may be held
	taken  int64 // bytes of its body

	// What the request is held for, until when, and what is to be done then.
	awaited approval.Approval
	until   time.Time
	then    func(*visit, approval.Approval, error) *passage
}

// pass returns the passage of a request that is approved. Otherwise it has
// answered the request, and returns nil.
func (h *Handler) pass(w http.ResponseWriter, r *http.Request) (p *passage) {
	v := &visit{Handler: h, w: w, r: r, signals: takeSignals(r)}
	defer func() { v.leave(p) }()
	p = v.gate()
	if v.then != nil {
		// Here, and not further in, because a request that is held should not
		// keep the stack that it took to get there.
		a, err := v.engine.Wait(r.Context(), v.awaited, time.Until(v.until))
		p = v.then(v, a, err)
	}
	return p
}

// gate does what can be done with a request without waiting.
func (v *visit) gate() *passage {
	r := v.r
	switch {
	case r.Method == http.MethodConnect:
		return v.refuse(problemMethod)
	case !hasTarget(r):
		return v.refuse(problemTarget)
	case isEarlyData(r):
		return v.refuse(problemEarly)
	case isPrefetch(r):
		return v.refuse(problemPrefetch)
	}

	engine, err := v.app.hold()
	if err != nil {
		v.logger.Error("opening the approval store", zap.Error(err))
		return v.refuse(problemUnavailable)
	}
	v.engine = engine.Engine
	session, had := takeSession(v.engine, r, v.signals.session)
	if !had {
		session = v.engine.NewSession()
	}
	v.session, v.newSession = session, !had

	if isPreflight(r) {
		// It asks what another request may do, and does nothing itself.
		return &passage{}
	}
	if !v.identify() {
		return v.refuse(problemForbidden)
	}
	if err := v.takeControl(r); err != nil {
		return v.refuse(problemBody)
	}
	if v.handle != "" && (v.status || v.action != "") {
		return v.byHandle()
	}
	return v.byRequest()
}

// identify finds out who is asking, and whose MitID is theirs. Nothing that it
// logs tells who.
func (v *visit) identify() bool {
	repl := v.r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	user, err := canonicalUser(repl.ReplaceAll(v.Handler.User, ""))
	if err != nil {
		v.logger.Info("refusing a user name that nobody can have", zap.Error(err))
		return false
	}
	v.user = user
	if v.user == "" {
		v.logger.Info("refusing a request without a user: check that users are signed in before step_up, and the option user")
		return false
	}
	if v.Handler.UUID != "" {
		v.uuid = repl.ReplaceAll(v.Handler.UUID, "")
	} else {
		uuid, err := v.app.directory.UUID(v.user)
		if err != nil {
			v.logger.Error("looking up a user", zap.Error(err))
			return false
		}
		v.uuid = uuid
	}
	if !isUUID(v.uuid) {
		v.logger.Info("refusing a user who has no MitID UUID: check the directory, or the option uuid")
		return false
	}
	return true
}

// byHandle serves what a waiting page asks for about its approval.
func (v *visit) byHandle() *passage {
	if v.isCrossSite() {
		return v.refuse(problemCrossSite)
	}
	a, err := v.engine.FindHandle(v.r.Context(), v.session, v.uuid, v.handle)
	switch {
	case errors.Is(err, approval.ErrNotFound):
		return v.refuse(problemGone)
	case err != nil:
		return v.trouble(err)
	case v.status:
		return v.tell(a)
	case v.action == controlCancel:
		// A page that is out of date does not cancel what was started since.
		if strings.HasPrefix(v.handle, a.ID+".") {
			if a, err = v.engine.Cancel(v.r.Context(), a); err != nil {
				return v.trouble(err)
			}
		}
		if v.r.Method != http.MethodPost {
			return v.backToPage(a)
		}
		return v.show(a)
	}
	if v.r.Method != http.MethodPost {
		return v.byRequest()
	}
	// A form waits here: what was parked takes the place of the control.
	parked, err := v.engine.Parked(v.r.Context(), v.session, a)
	switch {
	case errors.Is(err, approval.ErrNotFound) && a.State == approval.Approved:
		// It is for a request that has no form to continue, or was used just
		// now.
		return v.refuse(problemGone)
	case errors.Is(err, approval.ErrNotFound):
		return v.show(a)
	case err != nil:
		return v.trouble(err)
	}
	for name := range meaningfulHeaders(v.r.Header) {
		delete(v.r.Header, name)
	}
	if !v.take(int64(len(parked.Body))) {
		return v.trouble(errNoRoom)
	}
	maps.Copy(v.r.Header, parked.Header)
	v.body, v.hasBody = parked.Body, true
	setBody(v.r, parked.Body)
	if !bytes.Equal(parked.Request, v.fingerprint()) {
		// It comes back somewhere else. That goes on with nothing, and starts
		// nothing: nobody has asked for it.
		return v.refuse(problemGone)
	}
	if v.Remember == 0 {
		// It goes on once, because the approval does.
		return v.byRequest()
	}
	return v.goOnOnce(a)
}

// goOnOnce serves a parked request under an approval that is for others as
// well: only at its own page, and only one of those that try.
func (v *visit) goOnOnce(waiting approval.Approval) *passage {
	if v.restart != "" {
		a, err := v.engine.Begin(v.r.Context(), v.binding(), v.restart, v.ask)
		if err != nil {
			return v.trouble(err)
		}
		return v.show(a)
	}
	p, a, err := v.use()
	switch {
	case errors.Is(err, approval.ErrNotApproved):
		return v.show(a)
	case err != nil:
		return v.trouble(err)
	}
	if err := v.engine.Unpark(v.r.Context(), waiting); err != nil {
		return v.trouble(err)
	}
	return p
}

// byRequest serves a request by what it is.
func (v *visit) byRequest() *passage {
	// An approval that is remembered needs no more than itself: the request may
	// come from anywhere, as it may without the gate. Whatever else there is, or
	// is the matter, comes up when it is not there.
	early := v.Remember > 0 && !v.status
	if !early && !v.screen() {
		return nil
	}
	if v.status {
		a, err := v.engine.Find(v.r.Context(), v.binding())
		if err != nil {
			return v.trouble(err)
		}
		return v.tell(a)
	}
	p, a, err := v.use()
	switch {
	case err == nil:
		return p
	case early && errors.Is(err, approval.ErrStore):
		return v.trouble(err)
	}
	if early && !v.screen() {
		return nil
	}
	return v.proceed(a, err)
}

// screen tells whether a request may ask for an approval, and reads its body
// where the approval is for that or waits for a page. Otherwise it has answered
// the request.
func (v *visit) screen() bool {
	if v.isCrossSite() {
		v.refuse(problemCrossSite)
		return false
	}
	parks := v.mode() == respondPage && v.r.Method == http.MethodPost
	if v.hasBody || v.Remember > 0 && !parks {
		return true
	}
	var err error
	v.body, err = readBody(v.r, v.MaxBody, v.take)
	switch {
	case errors.Is(err, errNoRoom):
		v.trouble(err)
	case errors.Is(err, errBodyTooLarge):
		v.refuse(problemTooLarge)
	case err != nil:
		v.refuse(problemBody)
	}
	v.hasBody = err == nil
	return v.hasBody
}

// proceed goes on with a request that was not let through, for the reason that
// err is: with what there is, or with a new approval.
func (v *visit) proceed(a approval.Approval, err error) *passage {
	if errors.Is(err, approval.ErrNotFound) || errors.Is(err, approval.ErrNotApproved) && v.restart != "" {
		if v.mode() == respondHold && !v.sit() {
			// Nobody is asked for a request that cannot wait.
			return v.trouble(errNoSeat)
		}
		a, err = v.engine.Begin(v.r.Context(), v.binding(), v.restart, v.ask)
	}
	if err != nil && !errors.Is(err, approval.ErrNotApproved) {
		return v.trouble(err)
	}
	if v.action == controlRestart && v.r.Method != http.MethodPost {
		return v.backToPage(a)
	}
	if a.State.Waiting() && v.mode() == respondHold {
		if !v.sit() {
			return v.trouble(errNoSeat)
		}
		return v.await(a, v.holdTime(), (*visit).afterHold)
	}
	return v.conclude(a, 0)
}

// afterHold goes on with a request that was held, within the time that it may
// be held.
func (v *visit) afterHold(a approval.Approval, err error) *passage {
	if err != nil {
		return v.trouble(err)
	}
	return v.conclude(a, min(heldPatience, time.Until(v.until)))
}

// conclude lets a request pass, or answers it with the state of its approval.
func (v *visit) conclude(a approval.Approval, patience time.Duration) *passage {
	if a.State == approval.Approved {
		var p *passage
		var err error
		p, a, err = v.useWithin(patience)
		switch {
		case p != nil:
			return p
		case err != nil && !errors.Is(err, approval.ErrNotApproved):
			return v.trouble(err)
		}
	}
	return v.show(a)
}

// heldPatience is how long a request whose approval is known to be there waits
// out trouble with the store.
const heldPatience = 15 * time.Second

// use lets the request pass if there is a good approval for it.
func (v *visit) use() (*passage, approval.Approval, error) { return v.useWithin(0) }

func (v *visit) useWithin(patience time.Duration) (*passage, approval.Approval, error) {
	grant, a, err := v.engine.UseWithin(v.r.Context(), v.binding(), patience)
	if err != nil {
		return nil, a, err
	}
	if v.Remember > 0 && v.newSession {
		// Without it, the client could not come back to what it is allowed.
		giveSession(v.engine, v.w, v.r, v.session)
	}
	return &passage{Grant: grant, user: v.user}, a, nil
}

// binding is everything that an approval of this request is good for.
func (v *visit) binding() approval.Binding {
	b := approval.Binding{
		Session: v.session,
		User:    v.user,
		UUID:    v.uuid,
		Policy:  v.version,
		Host:    v.r.Host,
	}
	if v.Remember == 0 {
		b.Request = v.fingerprint()
	}
	return b
}

// fingerprint is the request's, with the values that its text shows from
// elsewhere.
func (v *visit) fingerprint() []byte {
	if v.print != nil {
		// A value may change while the request is held.
		return v.print
	}
	var shown []string
	if v.template != nil {
		repl := v.r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		for _, name := range v.template.Placeholders() {
			value, _ := repl.GetString(name)
			shown = append(shown, value)
		}
	}
	v.print = fingerprint(v.r, v.body, shown...)
	return v.print
}

// ask makes the question for the phone out of the request.
func (v *visit) ask() (approval.Ask, error) {
	ip := clientIP(v.r)
	if !ip.IsValid() {
		return approval.Ask{}, errNoAddress
	}
	var seed [32]byte
	rand.Read(seed[:])
	code := text.CheckCode(seed[:])
	shown := page.DefaultText(v.language(), v.r.Method, v.r.Host, v.r.URL.EscapedPath())
	if v.template != nil {
		repl := v.r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		var err error
		shown, err = v.template.Render(text.Source{
			ContentType:     v.r.Header["Content-Type"],
			ContentEncoding: v.r.Header["Content-Encoding"],
			RawQuery:        v.r.URL.RawQuery,
			Body:            v.body,
			Placeholder:     repl.GetString,
		})
		if err != nil {
			return approval.Ask{}, err
		}
	}
	shown, err := text.WithCode(shown, code)
	if err != nil {
		return approval.Ask{}, err
	}
	return approval.Ask{
		Text:      shown,
		Code:      code,
		Action:    actions[v.Handler.Action],
		IP:        ip,
		LoA:       v.loa,
		Remember:  time.Duration(v.Remember),
		Supersede: v.Supersede,
	}, nil
}

var errNoAddress = errors.New("the client has no address")

// language is what the person reads best of what there is.
func (v *visit) language() page.Language { return page.Match(v.r.Header.Get("Accept-Language")) }

// mode is how this request waits.
func (v *visit) mode() string {
	switch {
	case v.respondAsync:
		return respondChallenge
	case v.Respond == "" || v.Respond == respondAuto:
		if isNavigation(v.r) {
			return respondPage
		}
		return respondHold
	}
	return v.Respond
}

// holdTime is how long the request may be held.
func (v *visit) holdTime() time.Duration {
	hold := maxHold
	if v.Hold > 0 {
		hold = time.Duration(v.Hold)
	}
	if v.wait >= 0 {
		hold = min(hold, v.wait)
	}
	return hold
}

// maxHold is longer than any approval waits for its answer.
const maxHold = 25 * time.Hour

// await has the request held until the person has answered, the time is over or
// the process is about to end. It returns nil; what is to be done then returns
// the passage.
func (v *visit) await(a approval.Approval, atMost time.Duration, then func(*visit, approval.Approval, error) *passage) *passage {
	dismissAtExit()
	v.awaited, v.until, v.then = a, time.Now().Add(atMost), then
	return nil
}

// backToPage sends a browser back to the page, after it has followed a control
// link.
func (v *visit) backToPage(a approval.Approval) *passage {
	v.ours(publicState(a.State))
	original := originalURL(v.r)
	target := original.EscapedPath()
	if rest, _ := cutControl(original.RawQuery); rest != "" {
		target += "?" + rest
	}
	// One slash: two would name another host.
	v.w.Header().Set("Location", "/"+strings.TrimLeft(target, `/\`))
	v.w.WriteHeader(http.StatusSeeOther)
	return nil
}
