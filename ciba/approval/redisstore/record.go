package redisstore

import (
	"context"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

var (
	//go:embed marks.lua
	marksLua string
	//go:embed record.lua
	recordLua string
	//go:embed create.lua
	createLua string
	//go:embed get.lua
	getLua string
	//go:embed touch.lua
	touchLua string
	//go:embed spend.lua
	spendLua string
	//go:embed change.lua
	changeLua string
	//go:embed park.lua
	parkLua string
	//go:embed parked.lua
	parkedLua string
	//go:embed unpark.lua
	unparkLua string

	createScript = recordScript(createLua)
	getScript    = recordScript(getLua)
	touchScript  = recordScript(touchLua)
	spendScript  = redis.NewScript(clockLua + marksLua + spendLua + recordLua + touchLua)
	changeScript = recordScript(changeLua)
	parkScript   = recordScript(parkLua)
	parkedScript = recordScript(parkedLua)
	unparkScript = recordScript(unparkLua)
)

// recordScript is a script that may use all that there is for records.
func recordScript(lua string) *redis.Script {
	return redis.NewScript(clockLua + marksLua + recordLua + lua)
}

// keys names a record and the body that is parked beside it.
func (s *Store) keys(owner approval.Tag, key approval.Key) []string {
	name := ":{" + owner.String() + "}" + key.String()
	return []string{s.prefix + "record" + name, s.prefix + "parked" + name}
}

// keysWithSlot names a slot after them.
func (s *Store) keysWithSlot(ref approval.Ref, slot approval.Tag) []string {
	return append(s.keys(ref.Owner, ref.Key), s.prefix+"slot:{"+ref.Owner.String()+"}"+slot.String())
}

// Create implements [approval.Store]. A slot names its holder, which takes
// another call to read, since a script must know its keys before it runs. A
// holder that has ended in the meantime, which is for good, is then passed
// over.
func (s *Store) Create(ctx context.Context, n approval.New) (approval.Record, bool, error) {
	ended := ""
	for {
		answer, err := s.run(ctx, createScript, s.keysWithSlot(n.Ref, n.Slot), n.ID, n.Replace,
			string(approval.Starting), slices.Concat(n.Session[:], n.Slot[:]), n.Plan,
			micros(n.Lasts), micros(n.Keep), micros(n.Presence), n.Key.String(), ended)
		var holder *approval.Ref
		if err == nil {
			holder, err = decodeHolder(answer, n.Owner)
		}
		var word string
		var r approval.Record
		if err == nil && holder == nil {
			word, r, err = decode(answer, n.Owner, n.Key)
		}
		if err != nil {
			return approval.Record{}, false, fmt.Errorf("creating an approval in Redis: %w", err)
		}
		if holder == nil {
			return r, word == "created", nil
		}

		r, err = s.Get(ctx, n.Owner, holder.Key)
		if err != nil && !errors.Is(err, approval.ErrNotFound) {
			return approval.Record{}, false, err
		}
		if r.ID == holder.ID && r.State.Waiting() {
			return r, false, approval.ErrBusy
		}
		ended = holder.ID
	}
}

// decodeHolder returns who holds the slot, if that is what a script answered.
func decodeHolder(answer any, owner approval.Tag) (*approval.Ref, error) {
	parts, ok := answer.([]any)
	if !ok || len(parts) != 3 || parts[0] != "busy" {
		return nil, nil
	}
	id, _ := parts[1].(string)
	text, _ := parts[2].(string)
	key, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || id == "" || len(key) != len(approval.Key{}) {
		return nil, errors.New("a slot is damaged")
	}
	return &approval.Ref{Owner: owner, Key: approval.Key(key), ID: id}, nil
}

// Get implements [approval.Store].
func (s *Store) Get(ctx context.Context, owner approval.Tag, key approval.Key) (approval.Record, error) {
	return s.read(ctx, getScript, owner, key)
}

// Touch implements [approval.Store].
func (s *Store) Touch(ctx context.Context, owner approval.Tag, key approval.Key, presence time.Duration) (approval.Record, error) {
	return s.read(ctx, touchScript, owner, key, micros(presence))
}

// read runs a script that returns a record.
func (s *Store) read(ctx context.Context, script *redis.Script, owner approval.Tag, key approval.Key, args ...any) (approval.Record, error) {
	answer, err := s.run(ctx, script, s.keys(owner, key)[:1], args...)
	var r approval.Record
	if err == nil {
		_, r, err = decode(answer, owner, key)
	}
	if errors.Is(err, approval.ErrNotFound) {
		return approval.Record{}, err
	}
	if err != nil {
		return approval.Record{}, fmt.Errorf("reading an approval from Redis: %w", err)
	}
	return r, nil
}

// Spend implements [approval.Store].
func (s *Store) Spend(ctx context.Context, owner approval.Tag, key approval.Key, op string, presence time.Duration) (approval.Record, bool, error) {
	answer, err := s.run(ctx, spendScript, s.keys(owner, key), micros(presence), op,
		string(approval.Approved), string(approval.EventSpend.To()), s.channel())
	if err == nil {
		if id, outcome, ok := decodeSpent(answer); ok {
			ref := approval.Ref{Owner: owner, Key: key, ID: id}
			return approval.Record{Ref: ref, State: approval.EventSpend.To(), Outcome: outcome}, true, nil
		}
	}
	var r approval.Record
	if err == nil {
		_, r, err = decode(answer, owner, key)
	}
	if errors.Is(err, approval.ErrNotFound) {
		return approval.Record{}, false, err
	}
	if err != nil {
		return approval.Record{}, false, fmt.Errorf("spending an approval in Redis: %w", err)
	}
	return r, false, nil
}

// decodeSpent reads the answer of a script that has spent an approval.
func decodeSpent(answer any) (id string, outcome []byte, ok bool) {
	parts, _ := answer.([]any)
	if len(parts) != 3 || parts[0] != "spent" {
		return "", nil, false
	}
	id, isID := parts[1].(string)
	proof, isProof := parts[2].(string)
	return id, bytesOf(proof), isID && isProof && id != ""
}

// Change implements [approval.Store].
func (s *Store) Change(ctx context.Context, c approval.Change) (approval.Record, error) {
	to := c.Event.To()
	args := []any{
		c.ID, c.Op, string(c.Reason), c.Plan, c.Outcome, int64(c.Interval), micros(c.Lasts), micros(c.Keep),
		s.channel(), c.Key.String(), string(to), to.Live(), to.Waiting(), string(approval.Approved),
	}
	for _, from := range c.Event.From() {
		args = append(args, string(from))
	}
	answer, err := s.run(ctx, changeScript, s.keysWithSlot(c.Ref, c.Slot), args...)
	var word string
	var r approval.Record
	if err == nil {
		word, r, err = decode(answer, c.Owner, c.Key)
	}
	if errors.Is(err, approval.ErrNotFound) {
		return approval.Record{}, err
	}
	if err != nil {
		return approval.Record{}, fmt.Errorf("changing an approval in Redis: %w", err)
	}
	if word == "refused" {
		return r, &approval.TransitionError{Event: c.Event, State: r.State}
	}
	return r, nil
}

// Park implements [approval.Store].
func (s *Store) Park(ctx context.Context, ref approval.Ref, sealed []byte) error {
	done, err := s.run(ctx, parkScript, s.keys(ref.Owner, ref.Key), ref.ID, sealed)
	if err != nil {
		return fmt.Errorf("parking a request body in Redis: %w", err)
	}
	if done != int64(1) {
		return approval.ErrNotFound
	}
	return nil
}

// Parked implements [approval.Store].
func (s *Store) Parked(ctx context.Context, ref approval.Ref) ([]byte, error) {
	answer, err := s.run(ctx, parkedScript, s.keys(ref.Owner, ref.Key), ref.ID)
	if errors.Is(err, redis.Nil) {
		return nil, approval.ErrNotFound
	}
	sealed, ok := answer.(string)
	if err == nil && !ok {
		err = errAnswer
	}
	if err != nil {
		return nil, fmt.Errorf("reading a parked request body from Redis: %w", err)
	}
	return []byte(sealed), nil
}

// Unpark implements [approval.Store].
func (s *Store) Unpark(ctx context.Context, ref approval.Ref) error {
	done, err := s.run(ctx, unparkScript, s.keys(ref.Owner, ref.Key), ref.ID)
	if err != nil {
		return fmt.Errorf("forgetting a parked request body in Redis: %w", err)
	}
	if done != int64(1) {
		return approval.ErrNotFound
	}
	return nil
}

// decode reads the answer of a script: a word, and the record unless the word
// is "absent". Whatever in it is malformed is an error: a guess could turn a
// damaged record into a good one.
func decode(answer any, owner approval.Tag, key approval.Key) (string, approval.Record, error) {
	parts, ok := answer.([]any)
	if ok && len(parts) == 1 && parts[0] == "absent" {
		return "", approval.Record{}, approval.ErrNotFound
	}
	if !ok || len(parts) != 10 {
		return "", approval.Record{}, errAnswer
	}
	left, isLeft := parts[1].(int64)
	present, isPresent := parts[2].(int64)
	if !isLeft || !isPresent {
		return "", approval.Record{}, errAnswer
	}
	var text [10]string
	for i, part := range parts {
		if i == 1 || i == 2 {
			continue
		}
		if text[i], ok = part.(string); !ok {
			return "", approval.Record{}, errAnswer
		}
	}
	id, state, tags := text[3], approval.State(text[4]), text[6]
	interval, err := strconv.ParseInt(text[7], 10, 64)
	var session, slot approval.Tag
	if err != nil || id == "" || len(tags) != len(session)+len(slot) || !known(state) {
		return "", approval.Record{}, errors.New("a record is damaged")
	}
	copy(slot[:], tags[copy(session[:], tags):])
	r := approval.Record{
		Ref:      approval.Ref{Owner: owner, Key: key, ID: id},
		State:    state,
		Reason:   approval.Reason(text[5]),
		Session:  session,
		Slot:     slot,
		Interval: time.Duration(interval),
		Plan:     bytesOf(text[8]),
		Outcome:  bytesOf(text[9]),
		Left:     time.Duration(left) * time.Microsecond,
		Present:  time.Duration(present) * time.Microsecond,
	}
	if r.State.Live() && r.Left <= 0 {
		r.State, r.Reason = r.State.Lapsed()
	}
	return text[0], r, nil
}

// known tells whether a state is one of package approval's.
func known(s approval.State) bool {
	switch s {
	case approval.Starting, approval.Pending, approval.Approved, approval.Spent,
		approval.Denied, approval.Expired, approval.Cancelled, approval.Failed:
		return true
	}
	return false
}

// bytesOf is nil for an empty string: what was never given reads as such.
func bytesOf(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}
