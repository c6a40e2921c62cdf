package ledger

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"
)

// Type is the component type in a configuration.
var Type = component.MustNewType("ledger")

// Config of the ledger extension.
type Config struct {
	// Directory of ledger.bin. Empty: counted in memory, and forgotten with the process.
	Directory string `mapstructure:"directory"`
}

// NewFactory of the ledger extension.
func NewFactory() extension.Factory {
	return extension.NewFactory(Type, func() component.Config { return &Config{} }, create, component.StabilityLevelBeta)
}

func create(_ context.Context, set extension.Settings, cfg component.Config) (extension.Extension, error) {
	config, ok := cfg.(*Config)
	if !ok {
		return nil, fmt.Errorf("ledger: %T is no ledger.Config", cfg)
	}
	return &Extension{directory: config.Directory, set: set.TelemetrySettings}, nil
}

// Extension publishes a Book as the counter otelcol_ledger_items.
type Extension struct {
	directory string
	set       component.TelemetrySettings
	book      atomic.Pointer[Book]
	watch     metric.Registration
}

// Book is nil before the start and after the end, which counts nothing.
func (e *Extension) Book() *Book { return e.book.Load() }

// Start opens the book and registers its metric.
func (e *Extension) Start(context.Context, component.Host) error {
	book := NewBook()
	if e.directory != "" {
		opened, err := OpenBook(e.directory)
		if err != nil {
			return err
		}
		book = opened
	}
	meter := e.set.MeterProvider.Meter("otel-distro.example/components/ledger")
	counter, err := meter.Int64ObservableCounter("otelcol_ledger_items",
		metric.WithDescription("What became of each item: side=in came into the collector's keeping, side=out left it; over restarts"),
		metric.WithUnit("{items}"))
	if err != nil {
		return err
	}
	e.watch, err = meter.RegisterCallback(func(_ context.Context, observer metric.Observer) error {
		if open := e.book.Load(); open != nil {
			open.Each(func(entry Entry, value int64) {
				observer.ObserveInt64(counter, value, metric.WithAttributes(attributes(entry)...))
			})
		}
		return nil
	}, counter)
	e.book.Store(book)
	return err
}

// Shutdown stops the metric and gives the file free; what is still counted stands in it all the same.
func (e *Extension) Shutdown(context.Context) error {
	if e.watch != nil {
		if err := e.watch.Unregister(); err != nil {
			e.set.Logger.Warn("ledger metric", zap.Error(err))
		}
	}
	if book := e.book.Load(); book != nil {
		return book.Release()
	}
	return nil
}

func attributes(entry Entry) []attribute.KeyValue {
	side := "out"
	if entry.In {
		side = "in"
	}
	return []attribute.KeyValue{
		attribute.String("signal", entry.Signal),
		attribute.String("backend", entry.Backend),
		attribute.String("stage", entry.Stage),
		attribute.String("reason", entry.Reason),
		attribute.String("side", side),
	}
}

func parseKey(key string) Entry {
	parts := strings.SplitN(key, "\x00", 5)
	for len(parts) < 5 {
		parts = append(parts, "")
	}
	return Entry{In: parts[0] == "in", Signal: parts[1], Backend: parts[2], Stage: parts[3], Reason: parts[4]}
}

// Find is the ledger among a host's extensions: a counting function, which counts nothing where there is no ledger.
func Find(host component.Host) func() *Book {
	for id, found := range host.GetExtensions() {
		if id.Type() == Type {
			if ledger, ok := found.(*Extension); ok {
				return ledger.Book
			}
		}
	}
	return func() *Book { return nil }
}
