// Package otlpbytes is the stock exporter otlp_grpc, whose traces stay bytes between the queue on disk and the backend: the stock one
// decodes every batch that it reads from its queue, to encode it again a moment later. Type, metrics and all else are the stock ones:
// other signals, a queue in memory, and a configuration to which one key is added.
package otlpbytes

import (
	"context"
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
	return xexporter.NewFactory(stock.Type(),
		func() component.Config {
			return &Config{Config: *stock.CreateDefaultConfig().(*otlpexporter.Config), QueueCompression: packed}
		},
		xexporter.WithDeprecatedTypeAlias(component.MustNewType("otlp")),
		xexporter.WithTraces(func(ctx context.Context, set exporter.Settings, cfg component.Config) (exporter.Traces, error) {
			config := cfg.(*Config)
			if !config.QueueConfig.HasValue() || config.QueueConfig.Get().StorageID == nil {
				return stock.CreateTraces(ctx, set, &config.Config)
			}
			return newTraces(ctx, set, config)
		}, component.StabilityLevelBeta),
		xexporter.WithMetrics(func(ctx context.Context, set exporter.Settings, cfg component.Config) (exporter.Metrics, error) {
			return stock.CreateMetrics(ctx, set, &cfg.(*Config).Config)
		}, stock.MetricsStability()),
		xexporter.WithLogs(func(ctx context.Context, set exporter.Settings, cfg component.Config) (exporter.Logs, error) {
			return stock.CreateLogs(ctx, set, &cfg.(*Config).Config)
		}, stock.LogsStability()),
		xexporter.WithProfiles(func(ctx context.Context, set exporter.Settings, cfg component.Config) (xexporter.Profiles, error) {
			return stock.CreateProfiles(ctx, set, &cfg.(*Config).Config)
		}, stock.ProfilesStability()),
	)
}

// unchanged says what is so: the batcher of the helper merges bytes, and leaves the batch that it was given alone.
type unchanged struct{ exporter.Traces }

func (unchanged) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func newTraces(ctx context.Context, set exporter.Settings, config *Config) (exporter.Traces, error) {
	to := newSender(&config.Config, set)
	records := encoding{set.Logger, config.QueueCompression == packed}
	made, err := xexporterhelper.NewTracesRequest(ctx, set, converted, to.send,
		xexporterhelper.WithQueueBatch(config.QueueConfig, xexporterhelper.QueueBatchSettings{Encoding: records}),
		exporterhelper.WithTimeout(config.TimeoutConfig),
		exporterhelper.WithRetry(config.RetryConfig),
		exporterhelper.WithStart(to.start),
		exporterhelper.WithShutdown(to.shutdown),
		exporterhelper.WithAttrs(endpoint(config.ClientConfig.Endpoint)...),
	)
	return unchanged{made}, err
}

func converted(ctx context.Context, td ptrace.Traces) (xexporterhelper.Request, error) {
	found, err := wire.Encode(ctx, td)
	if err != nil {
		return nil, err
	}
	return newBatch(found, td.SpanCount()), nil
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
