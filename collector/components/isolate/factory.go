// Package isolate keeps the branches of a fan-out from each other: any branch accepted is an acknowledgement, the others'
// refusals are counted drops of theirs; only what all refuse goes back to the sender, who will ask again.
package isolate

import (
	"context"
	"fmt"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pipeline"

	"otel-distro.example/components/wire"
)

// Type is the component type in a configuration.
var Type = component.MustNewType("isolate")

const defaultMaxSpanBytes = 3_000_000

// NewFactory of the isolate connector.
func NewFactory() connector.Factory {
	return connector.NewFactory(Type,
		func() component.Config { return &Config{MaxSpanBytes: defaultMaxSpanBytes} },
		connector.WithTracesToTraces(newTraces, component.StabilityLevelBeta),
		connector.WithMetricsToMetrics(newMetrics, component.StabilityLevelBeta),
		connector.WithLogsToLogs(newLogs, component.StabilityLevelBeta),
	)
}

type tracesConnector struct {
	*fan[ptrace.Traces]
	trim trimmer
	room room
}

func newTraces(_ context.Context, set connector.Settings, cfg component.Config, next consumer.Traces) (connector.Traces, error) {
	router, ok := next.(connector.TracesRouterAndConsumer)
	if !ok {
		return nil, fmt.Errorf("isolate: %T is no router of pipelines", next)
	}
	config := cfg.(*Config)
	built, err := newFan(set, config, pipeline.SignalTraces, router.PipelineIDs(), func(id pipeline.ID) (door[ptrace.Traces], error) {
		found, err := router.Consumer(id)
		if err != nil {
			return door[ptrace.Traces]{}, err
		}
		return door[ptrace.Traces]{found.ConsumeTraces, found.Capabilities().MutatesData}, nil
	})
	if err != nil {
		return nil, err
	}
	built.clone = func(td ptrace.Traces) ptrace.Traces {
		copied := ptrace.NewTraces()
		td.CopyTo(copied)
		return copied
	}
	return &tracesConnector{built, trimmer{config.MaxSpanBytes}, config.room()}, nil
}

// ConsumeTraces is the answer to the sender.
func (c *tracesConnector) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	total := td.SpanCount()
	if err := c.closed(c.room); err != nil {
		c.counters.refuse(ctx, total)
		return err
	}
	truncated, dropped := c.trim.traces(td)
	return c.deliver(wire.Share(ctx, td), td, total, truncated, dropped) // queues on disk need it encoded, all the same way
}

type metricsConnector struct {
	*fan[pmetric.Metrics]
	room room
}

func newMetrics(_ context.Context, set connector.Settings, cfg component.Config, next consumer.Metrics) (connector.Metrics, error) {
	router, ok := next.(connector.MetricsRouterAndConsumer)
	if !ok {
		return nil, fmt.Errorf("isolate: %T is no router of pipelines", next)
	}
	config := cfg.(*Config)
	built, err := newFan(set, config, pipeline.SignalMetrics, router.PipelineIDs(), func(id pipeline.ID) (door[pmetric.Metrics], error) {
		found, err := router.Consumer(id)
		if err != nil {
			return door[pmetric.Metrics]{}, err
		}
		return door[pmetric.Metrics]{found.ConsumeMetrics, found.Capabilities().MutatesData}, nil
	})
	if err != nil {
		return nil, err
	}
	built.clone = func(md pmetric.Metrics) pmetric.Metrics {
		copied := pmetric.NewMetrics()
		md.CopyTo(copied)
		return copied
	}
	return &metricsConnector{built, config.room()}, nil
}

// ConsumeMetrics is the answer to the sender.
func (c *metricsConnector) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	if err := c.closed(c.room); err != nil {
		c.counters.refuse(ctx, md.DataPointCount())
		return err
	}
	return c.deliver(ctx, md, md.DataPointCount(), 0, 0)
}

type logsConnector struct {
	*fan[plog.Logs]
	room room
}

func newLogs(_ context.Context, set connector.Settings, cfg component.Config, next consumer.Logs) (connector.Logs, error) {
	router, ok := next.(connector.LogsRouterAndConsumer)
	if !ok {
		return nil, fmt.Errorf("isolate: %T is no router of pipelines", next)
	}
	config := cfg.(*Config)
	built, err := newFan(set, config, pipeline.SignalLogs, router.PipelineIDs(), func(id pipeline.ID) (door[plog.Logs], error) {
		found, err := router.Consumer(id)
		if err != nil {
			return door[plog.Logs]{}, err
		}
		return door[plog.Logs]{found.ConsumeLogs, found.Capabilities().MutatesData}, nil
	})
	if err != nil {
		return nil, err
	}
	built.clone = func(ld plog.Logs) plog.Logs {
		copied := plog.NewLogs()
		ld.CopyTo(copied)
		return copied
	}
	return &logsConnector{built, config.room()}, nil
}

// ConsumeLogs is the answer to the sender.
func (c *logsConnector) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	if err := c.closed(c.room); err != nil {
		c.counters.refuse(ctx, ld.LogRecordCount())
		return err
	}
	return c.deliver(ctx, ld, ld.LogRecordCount(), 0, 0)
}
