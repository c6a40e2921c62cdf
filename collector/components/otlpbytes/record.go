package otlpbytes

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"go.opentelemetry.io/collector/exporter/exporterhelper/xexporterhelper"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/xpdata/request"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protowire"

	"otel-distro.example/components/wire"
)

// A record of the queue is the stock exporter's (pdata/xpdata/request: version, traces, who sent them), and behind that a
// checksum in a field that the stock exporter passes over. So either reads what the other wrote.
const (
	tracesField   = 3
	checksumField = 1000
)

var (
	castagnoli  = crc32.MakeTable(crc32.Castagnoli) // a processor's own instruction
	checksumTag = protowire.AppendTag(nil, checksumField, protowire.Fixed32Type)
	errRecord   = errors.New("not a record of a queue of traces")
)

// encoding of the records of a queue.
type encoding struct{ log *zap.Logger }

// Marshal writes a batch as a record.
func (encoding) Marshal(ctx context.Context, from xexporterhelper.Request) ([]byte, error) {
	found, ok := from.(*batch)
	if !ok {
		return nil, fmt.Errorf("%T is no batch in bytes", from)
	}
	empty, err := request.MarshalTraces(ctx, ptrace.NewTraces())
	if err != nil {
		return nil, err
	}
	envelope, _, err := opened(empty)
	if err != nil {
		return nil, err
	}
	record := make([]byte, 0, len(envelope)+found.size+32)
	record = protowire.AppendTag(append(record, envelope...), tracesField, protowire.BytesType)
	record = protowire.AppendVarint(record, uint64(found.size))
	for _, piece := range found.Pieces {
		record = append(record, piece...)
	}
	sum := crc32.Checksum(record, castagnoli)
	return binary.LittleEndian.AppendUint32(append(record, checksumTag...), sum), nil
}

// Unmarshal takes a record with the right checksum as it is. Another one, of an older collector or of a disk that lost its power, is
// decoded, which is the proof that a backend will understand it.
func (e encoding) Unmarshal(record []byte) (context.Context, xexporterhelper.Request, error) {
	if whole, ok := checked(record); ok {
		envelope, body, first := opened(whole)
		ctx, _, second := request.UnmarshalTraces(envelope)
		if errors.Join(first, second) == nil {
			spans := 0
			wire.Items(body, func([]byte) { spans++ })
			return ctx, newBatch(body, spans), nil
		}
	}
	made, ctx, err := decoded(record)
	if err != nil {
		// The queue says that at level debug.
		e.log.Error("a batch of the queue cannot be read: dropped", zap.Int("bytes", len(record)), zap.Error(err))
	}
	return ctx, made, err
}

// checked is the record without its checksum.
func checked(record []byte) (whole []byte, ok bool) {
	at := len(record) - len(checksumTag) - 4
	if at < 0 || string(record[at:at+len(checksumTag)]) != string(checksumTag) {
		return nil, false
	}
	return record[:at], crc32.Checksum(record[:at], castagnoli) == binary.LittleEndian.Uint32(record[at+len(checksumTag):])
}

// opened is a record without its traces, and these.
func opened(record []byte) (envelope, body []byte, err error) {
	for len(record) > 0 {
		number, kind, size := protowire.ConsumeTag(record)
		if size < 0 {
			return nil, nil, errRecord
		}
		read := protowire.ConsumeFieldValue(number, kind, record[size:])
		if read < 0 {
			return nil, nil, errRecord
		}
		if number == tracesField && kind == protowire.BytesType {
			body, _ = protowire.ConsumeBytes(record[size:])
		} else {
			envelope = append(envelope, record[:size+read]...)
		}
		record = record[size+read:]
	}
	return envelope, body, nil
}

// decoded reads a record as the stock exporter does, and what was before it: traces without a sender.
func decoded(record []byte) (*batch, context.Context, error) {
	ctx, found, err := request.UnmarshalTraces(record)
	if errors.Is(err, request.ErrInvalidFormat) {
		found, err = (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(record)
	}
	if err != nil {
		return nil, ctx, err
	}
	body, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(found)
	return newBatch(body, found.SpanCount()), ctx, err
}
