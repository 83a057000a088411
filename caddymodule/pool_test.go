package caddymodule

import (
	"context"
	"log/slog"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// keptContext remembers in what context a line came.
type keptContext struct {
	slog.Handler
	of context.Context
}

func (k *keptContext) Handle(ctx context.Context, _ slog.Record) error {
	k.of = ctx
	return nil
}

// Law 9: what Caddy is told to log with a request may say who the user is.
func TestRelay_tellsOfApprovalsWithoutWhatIsLoggedOfRequests(t *testing.T) {
	fields := new(caddyhttp.ExtraLogFields)
	fields.Add(zap.String("user_id", "kirsten@example.dk"))
	ctx := context.WithValue(t.Context(), caddyhttp.ExtraLogFieldsCtxKey, fields)
	k := &keptContext{Handler: slog.DiscardHandler}
	if err := newRelay(k).Handle(ctx, slog.Record{}); err != nil {
		t.Fatal(err)
	}
	if k.of == nil || k.of.Value(caddyhttp.ExtraLogFieldsCtxKey) != nil {
		t.Error("a line about an approval comes with the fields of the request")
	}
}
