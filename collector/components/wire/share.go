package wire

import (
	"context"
	"sync"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

type sharedKey struct{}

// shared is one batch's encoding, made when the first asks.
type shared struct {
	of   ptrace.Traces
	once sync.Once
	body []byte
	err  error
}

var marshaler ptrace.ProtoMarshaler

// Share lets everybody who is given td with this context encode it once. Who changes td needs a new one behind the change.
func Share(ctx context.Context, td ptrace.Traces) context.Context {
	return context.WithValue(ctx, sharedKey{}, &shared{of: td})
}

// Bytes of td as an OTLP request, which nobody may change: the shared ones if td itself was shared, and not a copy of it.
//
// An error says that it cannot be encoded.
func Bytes(ctx context.Context, td ptrace.Traces) ([]byte, error) {
	found, ok := ctx.Value(sharedKey{}).(*shared)
	if !ok || found.of != td {
		return marshaler.MarshalTraces(td)
	}
	found.once.Do(func() { found.body, found.err = marshaler.MarshalTraces(td) })
	return found.body, found.err
}
