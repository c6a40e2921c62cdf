package isolate

import (
	"context"
	"errors"
	"strings"
	"syscall"

	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Reasons of a drop, a closed set: they are label values.
const (
	reasonQueueFull = "queue_full"
	reasonDiskFull  = "disk_full"
	reasonMemory    = "memory"
	reasonCancelled = "cancelled" // the sender went away
	reasonPermanent = "permanent"
	reasonOversized = "oversized"
	reasonOther     = "other"
)

var reasons = []string{reasonQueueFull, reasonDiskFull, reasonMemory, reasonCancelled, reasonPermanent, reasonOther}

func reasonOf(err error) string {
	switch {
	case errors.Is(err, exporterhelper.ErrQueueIsFull):
		return reasonQueueFull
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return reasonDiskFull
	case strings.Contains(err.Error(), "high memory usage"): // the limiter's error has no exported value
		return reasonMemory
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return reasonCancelled
	case consumererror.IsPermanent(err):
		return reasonPermanent
	}
	return reasonOther
}

// counters are the connector's own metrics; they need no ledger.
type counters struct {
	dropped, truncated, tooLarge, refused metric.Int64Counter
	connector, signal                     attribute.KeyValue
}

func newCounters(set connector.Settings, signal string) (counters, error) {
	meter := set.MeterProvider.Meter("otel-distro.example/components/isolate")
	made := counters{connector: attribute.String("connector", set.ID.String()), signal: attribute.String("signal", signal)}
	var problems [4]error
	counter := func(index int, name, description string) metric.Int64Counter {
		found, err := meter.Int64Counter(name, metric.WithDescription(description), metric.WithUnit("{items}"))
		problems[index] = err
		return found
	}
	made.dropped = counter(0, "otelcol_isolate_dropped_items", "Items that one branch refused while another accepted them")
	made.truncated = counter(1, "otelcol_isolate_truncated_items", "Items shortened to max_span_bytes")
	made.tooLarge = counter(2, "otelcol_isolate_oversized_items", "Items dropped alone, for shortening did not bring them under max_span_bytes")
	made.refused = counter(3, "otelcol_isolate_refused_items", "Items that every branch refused; the sender was told to come again")
	return made, errors.Join(problems[:]...)
}

func (c counters) drop(ctx context.Context, branch, reason string, items int) {
	c.dropped.Add(ctx, int64(items), metric.WithAttributes(c.connector, c.signal, attribute.String("branch", branch), attribute.String("reason", reason)))
}

func (c counters) oversized(ctx context.Context, truncated, dropped int) {
	c.truncated.Add(ctx, int64(truncated), metric.WithAttributes(c.connector, c.signal))
	c.tooLarge.Add(ctx, int64(dropped), metric.WithAttributes(c.connector, c.signal))
}

func (c counters) refuse(ctx context.Context, items int) {
	c.refused.Add(ctx, int64(items), metric.WithAttributes(c.connector, c.signal))
}
