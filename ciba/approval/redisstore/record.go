package redisstore

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

var (
	//go:embed record.lua
	recordLua string
	//go:embed create.lua
	createLua string
	//go:embed get.lua
	getLua string
	//go:embed change.lua
	changeLua string
	//go:embed park.lua
	parkLua string
	//go:embed parked.lua
	parkedLua string
	//go:embed unpark.lua
	unparkLua string

	createScript = redis.NewScript(clockLua + recordLua + createLua)
	getScript    = redis.NewScript(clockLua + recordLua + getLua)
	changeScript = redis.NewScript(clockLua + recordLua + changeLua)
	parkScript   = redis.NewScript(clockLua + recordLua + parkLua)
	parkedScript = redis.NewScript(clockLua + recordLua + parkedLua)
	unparkScript = redis.NewScript(clockLua + recordLua + unparkLua)
)

// keys names a record and the body that is parked beside it.
func (s *Store) keys(owner approval.Tag, key approval.Key) []string {
	name := ":{" + owner.String() + "}" + key.String()
	return []string{s.prefix + "record" + name, s.prefix + "parked" + name}
}

// Create implements [approval.Store].
func (s *Store) Create(ctx context.Context, n approval.New) (approval.Record, bool, error) {
	answer, err := s.run(ctx, createScript, s.keys(n.Owner, n.Key), n.ID, n.Replace,
		string(approval.Starting), n.Session[:], n.Plan, micros(n.Lasts), micros(n.Keep))
	var word string
	var r approval.Record
	if err == nil {
		word, r, err = decode(answer, n.Owner, n.Key)
	}
	if err != nil {
		return approval.Record{}, false, fmt.Errorf("creating an approval in Redis: %w", err)
	}
	return r, word == "created", nil
}

// Get implements [approval.Store].
func (s *Store) Get(ctx context.Context, owner approval.Tag, key approval.Key) (approval.Record, error) {
	answer, err := s.run(ctx, getScript, s.keys(owner, key)[:1])
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

// Change implements [approval.Store].
func (s *Store) Change(ctx context.Context, c approval.Change) (approval.Record, error) {
	args := []any{
		c.ID, c.Op, string(c.Reason), c.Plan, c.Outcome, int64(c.Interval),
		micros(c.Lasts), micros(c.Keep), s.channel(), string(c.Event.To()), c.Event.To().Live(),
	}
	for _, from := range c.Event.From() {
		args = append(args, string(from))
	}
	answer, err := s.run(ctx, changeScript, s.keys(c.Owner, c.Key), args...)
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
	if _, err := s.run(ctx, unparkScript, s.keys(ref.Owner, ref.Key), ref.ID); err != nil {
		return fmt.Errorf("forgetting a parked request body in Redis: %w", err)
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
	if !ok || len(parts) != 9 {
		return "", approval.Record{}, errAnswer
	}
	left, ok := parts[1].(int64)
	var text [9]string
	for i, part := range parts {
		if i == 1 {
			continue
		}
		var is bool
		text[i], is = part.(string)
		ok = ok && is
	}
	if !ok {
		return "", approval.Record{}, errAnswer
	}
	interval, err := strconv.ParseInt(text[6], 10, 64)
	state := approval.State(text[3])
	if err != nil || text[2] == "" || len(text[5]) != len(approval.Tag{}) || !known(state) {
		return "", approval.Record{}, errors.New("a record is damaged")
	}
	r := approval.Record{
		Ref:      approval.Ref{Owner: owner, Key: key, ID: text[2]},
		State:    state,
		Reason:   approval.Reason(text[4]),
		Session:  approval.Tag([]byte(text[5])),
		Interval: time.Duration(interval),
		Plan:     bytesOf(text[7]),
		Outcome:  bytesOf(text[8]),
		Left:     time.Duration(left) * time.Microsecond,
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
