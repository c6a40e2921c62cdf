package wire

import (
	"context"
	"sync"

	"github.com/klauspost/compress/s2"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Encoded is a batch as an OTLP request, which nobody may change.
type Encoded struct {
	Body   []byte
	once   sync.Once
	packed []byte
}

// Packed is the body as one block of S2, made when the first asks.
func (e *Encoded) Packed() []byte {
	e.once.Do(func() { e.packed = s2.Encode(nil, e.Body) })
	return e.packed
}

type sharedKey struct{}

// shared is one batch's encoding, made when the first asks.
type shared struct {
	of      ptrace.Traces
	once    sync.Once
	encoded *Encoded
	err     error
}

var marshaler ptrace.ProtoMarshaler

func encode(td ptrace.Traces) (*Encoded, error) {
	body, err := marshaler.MarshalTraces(td)
	return &Encoded{Body: body}, err
}

// Share lets everybody who is given td with this context encode it once. Who changes td needs a new one behind the change.
func Share(ctx context.Context, td ptrace.Traces) context.Context {
	return context.WithValue(ctx, sharedKey{}, &shared{of: td})
}

// Encode td: the shared encoding if td itself was shared, and not a copy of it.
//
// An error says that it cannot be encoded.
func Encode(ctx context.Context, td ptrace.Traces) (*Encoded, error) {
	found, ok := ctx.Value(sharedKey{}).(*shared)
	if !ok || found.of != td {
		return encode(td)
	}
	found.once.Do(func() { found.encoded, found.err = encode(td) })
	return found.encoded, found.err
}
