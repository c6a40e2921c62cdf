package park

import (
	"context"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// wire is what a message of an OTLP export can do; the collector's own messages have these, generated ones do not.
type wire interface {
	SizeProto() int
	MarshalProto([]byte) int
}

func marshalled(message any) []byte {
	found, ok := message.(wire)
	if !ok {
		return nil
	}
	body := make([]byte, found.SizeProto())
	return body[:found.MarshalProto(body)]
}

// GetGRPCClientOptions is called by an exporter that names this extension among its middlewares.
func (e *Extension) GetGRPCClientOptions(context.Context) ([]grpc.DialOption, error) {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(e.intercept)}, nil
}

func (e *Extension) intercept(ctx context.Context, method string, request, reply any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	signal := signalOf(method)
	if signal == "" {
		return invoke(ctx, method, request, reply, connection, options...)
	}
	headers, _ := metadata.FromOutgoingContext(ctx)
	again := route(func(ctx context.Context, about ticket, body []byte) verdict {
		var answer []byte
		ctx = metadata.NewOutgoingContext(ctx, headers)
		err := invoke(ctx, about.Method, body, &answer, connection, append(options[:len(options):len(options)], grpc.ForceCodecV2(raw{}))...)
		return judged(err, answer)
	})
	e.route.Store(&again)
	err := invoke(ctx, method, request, reply, connection, options...)
	about := ticket{Method: method, Signal: signal, Items: countMessage(signal, request)}
	return e.settle(judged(err, marshalled(reply)), about, func() []byte { return marshalled(request) })
}

func judged(err error, reply []byte) verdict {
	if err == nil {
		return verdict{rejected: rejectedItems(reply)}
	}
	found := status.Convert(err)
	return verdict{err: err, code: found.Code().String(), retry: retryable(found)}
}

// retryable is the exporter's own rule (otlpexporter, shouldRetry), which is that of the OTLP specification.
func retryable(answer *status.Status) bool {
	switch answer.Code() {
	case codes.Canceled, codes.DeadlineExceeded, codes.Aborted, codes.OutOfRange, codes.Unavailable, codes.DataLoss:
		return true
	case codes.ResourceExhausted:
		for _, detail := range answer.Details() {
			if _, ok := detail.(*errdetails.RetryInfo); ok {
				return true
			}
		}
	}
	return false
}

// metrics are counted and not parked: their points would arrive after younger ones of the same series.
const metrics = "metrics"

// signalOf an OTLP method or path; empty for another.
func signalOf(method string) string {
	method = strings.TrimSuffix(method, "/") // Sentry's path ends in one
	switch {
	case strings.Contains(method, "TraceService") || strings.HasSuffix(method, "/v1/traces"):
		return "traces"
	case strings.Contains(method, "LogsService") || strings.HasSuffix(method, "/v1/logs"):
		return "logs"
	case strings.Contains(method, "MetricsService") || strings.HasSuffix(method, "/v1/metrics"):
		return metrics
	}
	return ""
}

// raw passes bytes that are marshalled already.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(message any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(message.([]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, message any) error {
	*message.(*[]byte) = data.Materialize()
	return nil
}
