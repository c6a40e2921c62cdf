package kafkatraces

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"
)

// Between two looks at where the partitions end, which the broker is asked for: a partition that is paused tells nothing.
const endsInterval = 5 * time.Second

// publish makes the metrics of the partitions that this member has; the other members tell theirs.
func (r *tracesReceiver) publish() error {
	meter := r.set.MeterProvider.Meter("otel-distro.example/kafkatraces")
	lag, first := meter.Int64ObservableGauge("otelcol_kafka_traces_lag",
		metric.WithDescription("Messages of a partition from the oldest one on that is not settled: read and undecided, or still unread"),
		metric.WithUnit("{messages}"))
	waited, second := meter.Float64ObservableGauge("otelcol_kafka_traces_age",
		metric.WithDescription("How long ago the oldest message of a partition was written that was read and is not settled"),
		metric.WithUnit("s"))
	if err := errors.Join(first, second); err != nil {
		return err
	}
	watch, err := meter.RegisterCallback(func(_ context.Context, observer metric.Observer) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		for at, each := range r.workers {
			base, age, known := each.window.behind(time.Now())
			if !known {
				continue
			}
			partition := metric.WithAttributes(attribute.String("topic", at.topic), attribute.String("partition", strconv.Itoa(int(at.partition))))
			observer.ObserveFloat64(waited, age.Seconds(), partition)
			if end, found := r.ends[at]; found {
				observer.ObserveInt64(lag, max(end-base, 0), partition)
			}
		}
		return nil
	}, lag, waited)
	r.watch = watch
	return err
}

// lookRegularly asks the broker where the partitions end. While it does not answer their lag is not known, and not told.
func (r *tracesReceiver) lookRegularly(ctx context.Context) {
	broker := kadm.NewClient(r.client)
	ticker := time.NewTicker(endsInterval)
	defer ticker.Stop()
	for {
		r.look(ctx, broker)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (r *tracesReceiver) look(ctx context.Context, broker *kadm.Client) {
	r.mu.Lock()
	assigned := len(r.workers) > 0
	r.mu.Unlock()
	ends := map[place]int64{}
	if assigned {
		ctx, cancel := context.WithTimeout(ctx, commitTime)
		defer cancel()
		found, err := broker.ListEndOffsets(ctx, r.config.Topic)
		if err != nil {
			r.set.Logger.Debug("the broker does not say where its partitions end", zap.Error(err))
		}
		found.Each(func(each kadm.ListedOffset) {
			if each.Err == nil {
				ends[place{each.Topic, each.Partition}] = each.Offset
			}
		})
	}
	r.mu.Lock()
	r.ends = ends
	r.mu.Unlock()
}
