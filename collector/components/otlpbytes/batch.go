package otlpbytes

import (
	"context"
	"fmt"
	"slices"

	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/exporter/exporterhelper/xexporterhelper"

	"otel-distro.example/components/wire"
)

// batch is a request in bytes: what was merged lies in pieces, one behind the other.
type batch struct {
	wire.Message
	size  int
	whole *wire.Encoded // where it is one piece; nil for a merged one
}

func newBatch(of *wire.Encoded, spans int) *batch {
	return &batch{wire.Message{Pieces: [][]byte{of.Body}, Count: spans}, len(of.Body), of}
}

// encoded is the batch in one piece.
func (b *batch) encoded() *wire.Encoded {
	if b.whole == nil {
		b.whole = &wire.Encoded{Body: slices.Concat(b.Pieces...)}
	}
	return b.whole
}

// ItemsCount is the number of spans.
func (b *batch) ItemsCount() int { return b.Count }

// BytesSize is that of the encoding.
func (b *batch) BytesSize() int { return b.size }

// MergeSplit puts other behind this batch, without a look at either; what is too large then, the stock code splits.
//
// An error says that some of it fits nowhere.
func (b *batch) MergeSplit(ctx context.Context, limit int, by exporterhelper.RequestSizerType, other xexporterhelper.Request) ([]xexporterhelper.Request, error) {
	whole := b
	if other != nil {
		next, ok := other.(*batch)
		if !ok {
			return nil, fmt.Errorf("%T is no batch in bytes", other)
		}
		whole = &batch{wire.Message{Pieces: slices.Concat(b.Pieces, next.Pieces), Count: b.Count + next.Count}, b.size + next.size, nil}
	}
	size := whole.size
	if by != exporterhelper.RequestSizerTypeBytes {
		size = whole.Count
	}
	if limit == 0 || size <= limit {
		return []xexporterhelper.Request{whole}, nil
	}
	return whole.split(ctx, limit, by)
}

// split decodes, which is rare: requests near the limit, that a sender made.
func (b *batch) split(ctx context.Context, limit int, by exporterhelper.RequestSizerType) ([]xexporterhelper.Request, error) {
	stock := xexporterhelper.NewTracesQueueBatchSettings().Encoding
	_, decoded, err := stock.Unmarshal(b.encoded().Body)
	if err != nil {
		return nil, err
	}
	parts, failed := decoded.MergeSplit(ctx, limit, by, nil)
	made := make([]xexporterhelper.Request, 0, len(parts))
	for _, part := range parts {
		record, err := stock.Marshal(context.Background(), part)
		if err != nil {
			return nil, err
		}
		_, body, err := opened(record)
		if err != nil {
			return nil, err
		}
		made = append(made, newBatch(&wire.Encoded{Body: body}, part.ItemsCount()))
	}
	return made, failed
}
