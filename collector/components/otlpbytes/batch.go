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
	size int
}

func newBatch(body []byte, spans int) *batch {
	return &batch{wire.Message{Pieces: [][]byte{body}, Count: spans}, len(body)}
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
		whole = &batch{wire.Message{Pieces: slices.Concat(b.Pieces, next.Pieces), Count: b.Count + next.Count}, b.size + next.size}
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
	body := make([]byte, b.size)
	b.MarshalProto(body)
	_, decoded, err := stock.Unmarshal(body)
	if err != nil {
		return nil, err
	}
	parts, failed := decoded.MergeSplit(ctx, limit, by, nil)
	made := make([]xexporterhelper.Request, 0, len(parts))
	for _, part := range parts {
		encoded, err := stock.Marshal(context.Background(), part)
		if err != nil {
			return nil, err
		}
		_, body, err := opened(encoded)
		if err != nil {
			return nil, err
		}
		made = append(made, newBatch(body, part.ItemsCount()))
	}
	return made, failed
}
