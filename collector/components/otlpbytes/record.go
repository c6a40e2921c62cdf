package otlpbytes

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/klauspost/compress/s2"
	"go.opentelemetry.io/collector/exporter/exporterhelper/xexporterhelper"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/xpdata/request"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protowire"

	"otel-distro.example/components/wire"
)

// A record of the queue is the stock exporter's (pdata/xpdata/request: version, who sent it, traces), and behind that a checksum in a
// field that the stock exporter passes over. In a packed record the traces are one block of S2 in a field of their own, and the
// version is one that the stock exporter refuses: it would take it for a batch of no spans.
const (
	versionField  = 1
	tracesField   = 3
	checksumField = 1000
	packedField   = 1001
	stockVersion  = 1
	packedVersion = 1001
)

var (
	castagnoli  = crc32.MakeTable(crc32.Castagnoli) // a processor's own instruction
	checksumTag = protowire.AppendTag(nil, checksumField, protowire.Fixed32Type)
	errRecord   = errors.New("not a record of a queue of traces")
)

// encoding of the records of a queue.
type encoding struct {
	log  *zap.Logger
	pack bool
}

// Marshal writes a batch as a record.
func (e encoding) Marshal(ctx context.Context, from xexporterhelper.Request) ([]byte, error) {
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
	version, field, content := uint32(stockVersion), protowire.Number(tracesField), found.encoded().Body
	if e.pack {
		version, field, content = packedVersion, packedField, found.encoded().Packed()
	}
	record := make([]byte, 0, len(envelope)+len(content)+32)
	record = protowire.AppendFixed32(protowire.AppendTag(record, versionField, protowire.Fixed32Type), version)
	record = append(record, envelope...)
	record = protowire.AppendBytes(protowire.AppendTag(record, field, protowire.BytesType), content)
	sum := crc32.Checksum(record, castagnoli)
	return binary.LittleEndian.AppendUint32(append(record, checksumTag...), sum), nil
}

// Unmarshal takes a record with the right checksum as it is. Another one, of an older collector or of a disk that lost its power, is
// decoded, which is the proof that a backend will understand it.
func (e encoding) Unmarshal(record []byte) (context.Context, xexporterhelper.Request, error) {
	if whole, ok := checked(record); ok {
		if ctx, made, err := trusted(whole); err == nil {
			return ctx, made, nil
		}
	}
	ctx, made, err := decoded(record)
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

// trusted reads a record that is as it was written.
func trusted(record []byte) (context.Context, *batch, error) {
	envelope, body, err := opened(record)
	if err != nil {
		return nil, nil, err
	}
	stock := protowire.AppendFixed32(protowire.AppendTag(nil, versionField, protowire.Fixed32Type), stockVersion)
	ctx, _, err := request.UnmarshalTraces(append(stock, envelope...))
	if err != nil {
		return nil, nil, err
	}
	spans := 0
	wire.Items(body, func([]byte) { spans++ })
	return ctx, newBatch(&wire.Encoded{Body: body}, spans), nil
}

// opened is a record without version and traces, which says who sent it, and its traces, unpacked.
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
		content, _ := protowire.ConsumeBytes(record[size:])
		switch {
		case number == versionField:
		case number == tracesField && kind == protowire.BytesType:
			body = content
		case number == packedField && kind == protowire.BytesType:
			if body, err = s2.Decode(nil, content); err != nil {
				return nil, nil, err
			}
		default:
			envelope = append(envelope, record[:size+read]...)
		}
		record = record[size+read:]
	}
	return envelope, body, nil
}

// decoded reads a record as the stock exporter does, and what was before it: traces without a sender.
func decoded(record []byte) (context.Context, *batch, error) {
	ctx, found, err := request.UnmarshalTraces(record)
	if errors.Is(err, request.ErrInvalidFormat) {
		found, err = (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(record)
	}
	if err == nil && found.SpanCount() == 0 {
		err = errRecord // of unknown fields only, which protobuf allows
	}
	if err != nil {
		return ctx, nil, err
	}
	again, err := wire.Encode(ctx, found)
	return ctx, newBatch(again, found.SpanCount()), err
}
