package park

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"otel-distro.example/components/wire"
)

// sized is what the collector's own messages can do, and those that are bytes already; generated ones cannot.
type sized interface {
	SizeProto() int
	MarshalProto([]byte) int
}

// answered is what pdata's responses can do.
type answered interface{ MarshalProto() ([]byte, error) }

func marshalled(message any) []byte {
	switch found := message.(type) {
	case sized:
		body := make([]byte, found.SizeProto())
		return body[:found.MarshalProto(body)]
	case answered:
		body, _ := found.MarshalProto()
		return body
	}
	return nil
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
		err := invoke(ctx, about.Method, body, &answer, connection, append(options[:len(options):len(options)], grpc.ForceCodecV2(wire.Codec{}))...)
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
	retry, _ := wire.Retryable(found)
	return verdict{err: err, code: found.Code().String(), retry: retry}
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
