package otlpbytes

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/exporter/exporterhelper/xexporterhelper"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"otel-distro.example/components/wire"
)

const method = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

var errNotStarted = errors.New("otlp_grpc: not started")

// sender is the connection to one backend.
type sender struct {
	config     *otlpexporter.Config
	set        component.TelemetrySettings
	agent      string
	connection *grpc.ClientConn
	options    []grpc.CallOption
}

func newSender(config *otlpexporter.Config, set exporter.Settings) *sender {
	agent := fmt.Sprintf("%s/%s (%s/%s)", set.BuildInfo.Description, set.BuildInfo.Version, runtime.GOOS, runtime.GOARCH)
	return &sender{config: config, set: set.TelemetrySettings, agent: agent}
}

func (s *sender) start(ctx context.Context, host component.Host) (err error) {
	s.options = []grpc.CallOption{grpc.WaitForReady(s.config.ClientConfig.WaitForReady), grpc.ForceCodecV2(wire.Codec{})}
	s.connection, err = s.config.ClientConfig.ToClientConn(ctx, host.GetExtensions(), s.set,
		configgrpc.WithGrpcDialOption(grpc.WithUserAgent(s.agent)))
	return err
}

func (s *sender) shutdown(context.Context) error {
	if s.connection == nil {
		return nil
	}
	return s.connection.Close()
}

// send one request; what its error is decides whether the helper asks again, as in the stock exporter.
func (s *sender) send(ctx context.Context, from xexporterhelper.Request) error {
	found, ok := from.(*batch)
	if !ok {
		return consumererror.NewPermanent(fmt.Errorf("%T is no batch in bytes", from))
	}
	if s.connection == nil {
		return errNotStarted
	}
	answer := ptraceotlp.NewExportResponse()
	if err := s.connection.Invoke(ctx, method, &found.Message, answer, s.options...); err != nil {
		return refused(err)
	}
	if partial := answer.PartialSuccess(); partial.ErrorMessage() != "" || partial.RejectedSpans() != 0 {
		s.set.Logger.Warn("Partial success response", zap.String("message", partial.ErrorMessage()),
			zap.Int64("dropped_spans", partial.RejectedSpans()))
	}
	return nil
}

func refused(err error) error {
	retry, info := wire.Retryable(status.Convert(err))
	if !retry {
		return consumererror.NewPermanent(err)
	}
	if delay := info.GetRetryDelay().AsDuration(); delay != 0 {
		return exporterhelper.NewThrottleRetry(err, delay)
	}
	return err
}
