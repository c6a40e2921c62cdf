// Package wire is what several components do to OTLP requests without decoding them: walk, count, send and judge bytes.
package wire

import (
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// Each calls visit with every length-delimited field of that number; broken bytes end the walk.
func Each(message []byte, wanted protowire.Number, visit func([]byte)) {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return
		}
		message = message[size:]
		if number == wanted && kind == protowire.BytesType {
			content, read := protowire.ConsumeBytes(message)
			if read < 0 {
				return
			}
			visit(content)
			message = message[read:]
			continue
		}
		read := protowire.ConsumeFieldValue(number, kind, message)
		if read < 0 {
			return
		}
		message = message[read:]
	}
}

// Items of a request of any signal: resource groups are its field 1, scopes their field 2, spans, records or metrics theirs.
func Items(body []byte, visit func(item []byte)) {
	Each(body, 1, func(group []byte) {
		Each(group, 2, func(scope []byte) { Each(scope, 2, visit) })
	})
}

// Message is a request whose encoding lies in several pieces: those of a repeated field, one behind the other, are one message.
type Message struct {
	Pieces [][]byte
	Count  int // spans, log records or points
}

// ItemCount is for who wants to know without decoding.
func (m *Message) ItemCount() int { return m.Count }

// SizeProto is the encoding's length, as the collector's own messages tell it.
func (m *Message) SizeProto() int {
	total := 0
	for _, piece := range m.Pieces {
		total += len(piece)
	}
	return total
}

// MarshalProto fills a buffer of SizeProto bytes.
func (m *Message) MarshalProto(into []byte) int {
	total := 0
	for _, piece := range m.Pieces {
		total += copy(into[total:], piece)
	}
	return total
}

// reply decodes itself: what is no OTLP is an error of the call, before any middleware counts it as delivered.
type reply interface{ UnmarshalProto([]byte) error }

// Codec passes what is encoded already: a []byte or a *Message goes out, a *[]byte or a reply of pdata comes in.
type Codec struct{}

// Name is that of the encoding.
func (Codec) Name() string { return "proto" }

// Marshal copies nothing.
func (Codec) Marshal(message any) (mem.BufferSlice, error) {
	if found, ok := message.(*Message); ok {
		made := make(mem.BufferSlice, len(found.Pieces))
		for i, piece := range found.Pieces {
			made[i] = mem.SliceBuffer(piece)
		}
		return made, nil
	}
	return mem.BufferSlice{mem.SliceBuffer(message.([]byte))}, nil
}

// Unmarshal reads a copy: the buffers go back to gRPC.
func (Codec) Unmarshal(data mem.BufferSlice, message any) error {
	if found, ok := message.(reply); ok {
		return found.UnmarshalProto(data.Materialize())
	}
	*message.(*[]byte) = data.Materialize()
	return nil
}

// Retryable is the stock exporter's own rule (otlpexporter, shouldRetry), which is that of the OTLP specification; info is what a
// server that throttles says, or nil.
func Retryable(answer *status.Status) (retry bool, info *errdetails.RetryInfo) {
	for _, detail := range answer.Details() {
		if found, ok := detail.(*errdetails.RetryInfo); ok {
			info = found
		}
	}
	switch answer.Code() {
	case codes.Canceled, codes.DeadlineExceeded, codes.Aborted, codes.OutOfRange, codes.Unavailable, codes.DataLoss:
		return true, info
	case codes.ResourceExhausted:
		return info != nil, info
	}
	return false, info
}
