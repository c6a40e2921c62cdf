// Package kafkatraces reads traces from Kafka and commits a message's offset only behind its trace: once that is decided and
// queued, in whatever order. What was decided out of order is noted in the commit itself, so the next owner of a partition, after a
// rebalance or a kill -9, reads what was undecided, whole, and nothing of what was not.
package kafkatraces

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
)

// Type is the component type in a configuration.
var Type = component.MustNewType("kafka_traces")

// NewFactory of the kafka_traces receiver.
func NewFactory() receiver.Factory {
	return receiver.NewFactory(Type, func() component.Config { return defaultConfig() },
		receiver.WithTraces(create, component.StabilityLevelBeta))
}

func create(_ context.Context, set receiver.Settings, cfg component.Config, next consumer.Traces) (receiver.Traces, error) {
	report, err := receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{
		ReceiverID: set.ID, Transport: "kafka", ReceiverCreateSettings: set,
	})
	if err != nil {
		return nil, err
	}
	return &tracesReceiver{config: cfg.(*Config), set: set, next: next, report: report,
		workers: map[place]*worker{}, last: map[place]*window{}}, nil
}
