package wire

import (
	"context"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

func spans(count int) ptrace.Traces {
	made := ptrace.NewTraces()
	for range count {
		made.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty().SetName("GET /orders")
	}
	return made
}

func TestASharedBatchIsEncodedOnce(t *testing.T) {
	td := spans(3)
	ctx := Share(context.Background(), td)
	first, err := Encode(ctx, td)
	require.NoError(t, err)
	second, err := Encode(ctx, td)
	require.NoError(t, err)
	require.Same(t, first, second)
	require.Same(t, &first.Packed()[0], &second.Packed()[0])
	unpacked, err := s2.Decode(nil, first.Packed())
	require.NoError(t, err)
	require.Equal(t, first.Body, unpacked)
	count := 0
	Items(first.Body, func([]byte) { count++ })
	require.Equal(t, 3, count)
}

func TestACopyIsNotTheSharedBatch(t *testing.T) {
	td, other := spans(1), spans(2)
	ctx := Share(context.Background(), td)
	shared, err := Encode(ctx, td)
	require.NoError(t, err)
	found, err := Encode(ctx, other)
	require.NoError(t, err)
	require.NotEqual(t, shared.Body, found.Body)
	copied := ptrace.NewTraces()
	td.CopyTo(copied)
	copied.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).SetName("changed in one branch")
	found, err = Encode(ctx, copied)
	require.NoError(t, err)
	require.Contains(t, string(found.Body), "changed in one branch")
}

func TestPiecesAreOneMessage(t *testing.T) {
	first, err := Encode(context.Background(), spans(1))
	require.NoError(t, err)
	second, err := Encode(context.Background(), spans(2))
	require.NoError(t, err)
	message := &Message{Pieces: [][]byte{first.Body, second.Body}, Count: 3}
	body := make([]byte, message.SizeProto())
	require.Equal(t, len(body), message.MarshalProto(body))
	sent, err := Codec{}.Marshal(message)
	require.NoError(t, err)
	require.Equal(t, body, sent.Materialize())
	decoded, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(body)
	require.NoError(t, err)
	require.Equal(t, 3, decoded.SpanCount())
}
