package park

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"otel-distro.example/components/ledger"
)

// A round of offers ends after so many refusals: an expired token refuses everything, and one answer says that.
const refusalsARound = 3

// verdict is a backend's answer. A refusal with retry is the exporter's business, one without is ours.
type verdict struct {
	err      error
	code     string // Unauthenticated, HTTP 401
	retry    bool
	rejected int // items of a partial success
}

// route offers a parked batch on the connection, with the credentials, of the newest live request.
type route func(ctx context.Context, about ticket, body []byte) verdict

// Extension parks what one backend refuses for good.
type Extension struct {
	config  *Config
	backend string
	set     component.TelemetrySettings
	book    func() *ledger.Book
	lot     *lot
	route   atomic.Pointer[route]
	watch   metric.Registration
	stop    context.CancelFunc
	ended   sync.WaitGroup
}

func newExtension(config *Config, backend string, set component.TelemetrySettings) *Extension {
	return &Extension{config: config, backend: backend, set: set, book: func() *ledger.Book { return nil }}
}

// Start opens the directory and begins to offer what lies in it.
func (e *Extension) Start(_ context.Context, host component.Host) error {
	e.book = ledger.Find(host)
	if e.config.MaxBytes == 0 {
		return nil // only counts
	}
	opened, err := openLot(e.config.Directory, e.config.MaxBytes)
	if err != nil {
		return err
	}
	e.lot = opened
	if err := e.publish(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.stop = cancel
	e.ended.Add(1)
	go func() {
		defer e.ended.Done()
		e.offer(ctx)
	}()
	return nil
}

// Shutdown ends the offers; what is parked stays on disk.
func (e *Extension) Shutdown(context.Context) error {
	if e.stop != nil {
		e.stop()
		e.ended.Wait()
	}
	if e.watch != nil {
		return e.watch.Unregister()
	}
	return nil
}

func (e *Extension) publish() error {
	meter := e.set.MeterProvider.Meter("otel-distro.example/components/park")
	batches, first := meter.Int64ObservableGauge("otelcol_park_batches",
		metric.WithDescription("Batches that a backend refused for good, waiting on disk"), metric.WithUnit("{batches}"))
	size, second := meter.Int64ObservableGauge("otelcol_park_size",
		metric.WithDescription("Bytes of the parked batches"), metric.WithUnit("By"))
	limit, third := meter.Int64ObservableGauge("otelcol_park_capacity",
		metric.WithDescription("Bytes that may be parked"), metric.WithUnit("By"))
	if err := errors.Join(first, second, third); err != nil {
		return err
	}
	backend := metric.WithAttributes(attribute.String("backend", e.backend))
	watch, err := meter.RegisterCallback(func(_ context.Context, observer metric.Observer) error {
		count, bytes := e.lot.state()
		observer.ObserveInt64(batches, int64(count), backend)
		observer.ObserveInt64(size, bytes, backend)
		observer.ObserveInt64(limit, e.config.MaxBytes, backend)
		return nil
	}, batches, size, limit)
	e.watch = watch
	return err
}

// settle does what a live request's verdict asks for: nil when the exporter may forget the batch.
func (e *Extension) settle(answer verdict, about ticket, body func() []byte) error {
	switch {
	case answer.err == nil:
		e.delivered(about, answer.rejected)
		return nil
	case answer.retry:
		return answer.err
	}
	if e.lot == nil || about.Signal == metrics {
		e.count(about, "dropped", answer.code, about.Items)
		return answer.err // the exporter says it, and counts it by code as well
	}
	about.Code, about.Since = answer.code, e.lot.now()
	if err := e.lot.put(about, body()); err != nil {
		e.set.Logger.Error("refused for good and cannot be parked: dropped", zap.String("backend", e.backend),
			zap.String("code", answer.code), zap.Int("items", about.Items), zap.Error(err))
		e.count(about, "dropped", answer.code, about.Items)
		return answer.err
	}
	e.count(about, "parked", answer.code, about.Items)
	e.set.Logger.Warn("refused for good: parked", zap.String("backend", e.backend), zap.String("code", answer.code),
		zap.Int("items", about.Items), zap.Error(answer.err))
	return nil
}

func (e *Extension) delivered(about ticket, rejected int) {
	rejected = min(max(rejected, 0), about.Items)
	e.count(about, "delivered", "", about.Items-rejected)
	e.count(about, "rejected", "partial_success", rejected)
}

func (e *Extension) count(about ticket, stage, reason string, items int) {
	entry := ledger.Entry{Signal: about.Signal, Backend: e.backend, Stage: stage, Reason: reason, In: stage == "unparked"}
	e.book().Add(entry, items)
}

func (e *Extension) offer(ctx context.Context) {
	ticker := time.NewTicker(e.config.RetryInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			e.round(ctx)
		}
	}
}

// round offers batch after batch until one fails in a way that will pass, too many are refused, or all were asked.
func (e *Extension) round(ctx context.Context) {
	send := e.route.Load()
	if send == nil {
		return // no live request yet, and so no connection to offer on
	}
	left, _ := e.lot.state()
	for refused := 0; left > 0 && refused < refusalsARound && ctx.Err() == nil; left-- {
		name, about, body, err := e.lot.first()
		if errors.Is(err, errEmpty) {
			return
		}
		if err != nil {
			e.unreadable(name, err)
			continue
		}
		answer := (*send)(ctx, about, body)
		switch {
		case answer.err == nil:
			e.leave(name, about)
			e.delivered(about, answer.rejected)
		case answer.retry:
			return
		case e.lot.age(name, about) > e.config.MaxAge:
			e.leave(name, about)
			e.count(about, "discarded", answer.code, about.Items)
			e.set.Logger.Error("parked too long: discarded", zap.String("backend", e.backend), zap.String("code", answer.code),
				zap.Int("items", about.Items), zap.Error(answer.err))
		default:
			refused++
			e.lot.back(name)
		}
	}
}

// unreadable waits for its turn again where the file may be read later: a collector without a free descriptor opens none.
func (e *Extension) unreadable(name string, err error) {
	about := []zap.Field{zap.String("backend", e.backend), zap.String("file", name), zap.Error(err)}
	if errors.Is(err, errBroken) || errors.Is(err, fs.ErrNotExist) {
		e.lot.setAside(name)
		e.set.Logger.Error("a parked batch is damaged or gone: what was in it is missing", about...)
		return
	}
	e.lot.back(name)
	e.set.Logger.Warn("a parked batch cannot be read now: it waits", about...)
}

func (e *Extension) leave(name string, about ticket) {
	e.count(about, "unparked", about.Code, about.Items)
	if err := e.lot.remove(name); err != nil {
		e.set.Logger.Error("a delivered batch stays on disk and will be sent again", zap.String("file", name), zap.Error(err))
	}
}
