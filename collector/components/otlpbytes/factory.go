// Package otlpbytes is the stock exporter otlp_grpc, whose traces stay bytes between the queue on disk and the backend: the stock one
// decodes every batch that it reads from its queue, to encode it again a moment later. Type, configuration, metrics and the format of
// the queue's file are the stock ones, and so is all else: other signals, and a queue in memory.
package otlpbytes

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/exporter/exporterhelper/xexporterhelper"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/exporter/xexporter"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/attribute"

	"otel-distro.example/components/wire"
)

// NewFactory of the exporter otlp_grpc.
func NewFactory() exporter.Factory {
	stock := otlpexporter.NewFactory().(xexporter.Factory)
	return xexporter.NewFactory(stock.Type(), stock.CreateDefaultConfig,
		xexporter.WithDeprecatedTypeAlias(component.MustNewType("otlp")),
		xexporter.WithTraces(func(ctx context.Context, set exporter.Settings, cfg component.Config) (exporter.Traces, error) {
			config, ok := cfg.(*otlpexporter.Config)
			if !ok {
				return nil, fmt.Errorf("otlp_grpc: %T is no otlpexporter.Config", cfg)
			}
			if !config.QueueConfig.HasValue() || config.QueueConfig.Get().StorageID == nil {
				return stock.CreateTraces(ctx, set, cfg)
			}
			return newTraces(ctx, set, config)
		}, stock.TracesStability()),
		xexporter.WithMetrics(stock.CreateMetrics, stock.MetricsStability()),
		xexporter.WithLogs(stock.CreateLogs, stock.LogsStability()),
		xexporter.WithProfiles(stock.CreateProfiles, stock.ProfilesStability()),
	)
}

// unchanged says what is so: the batcher of the helper merges bytes, and leaves the batch that it was given alone.
type unchanged struct{ exporter.Traces }

func (unchanged) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func newTraces(ctx context.Context, set exporter.Settings, config *otlpexporter.Config) (exporter.Traces, error) {
	to := newSender(config, set)
	made, err := xexporterhelper.NewTracesRequest(ctx, set, encoded, to.send,
		xexporterhelper.WithQueueBatch(config.QueueConfig, xexporterhelper.QueueBatchSettings{Encoding: encoding{set.Logger}}),
		exporterhelper.WithTimeout(config.TimeoutConfig),
		exporterhelper.WithRetry(config.RetryConfig),
		exporterhelper.WithStart(to.start),
		exporterhelper.WithShutdown(to.shutdown),
		exporterhelper.WithAttrs(endpoint(config.ClientConfig.Endpoint)...),
	)
	return unchanged{made}, err
}

func encoded(ctx context.Context, td ptrace.Traces) (xexporterhelper.Request, error) {
	body, err := wire.Bytes(ctx, td)
	if err != nil {
		return nil, err
	}
	return newBatch(body, td.SpanCount()), nil
}

// endpoint as the stock exporter names it on its metrics.
func endpoint(address string) []attribute.KeyValue {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return []attribute.KeyValue{attribute.String("server.address", address)}
	}
	found := []attribute.KeyValue{attribute.String("server.address", host)}
	if number, err := strconv.Atoi(port); err == nil {
		found = append(found, attribute.Int("server.port", number))
	}
	return found
}
