package kafkatraces

import (
	"context"
	"encoding/hex"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"

	"otel-distro.example/components/delivery"
)

const (
	// A partition is not fetched while so many messages wait for the pipeline, until only so few do.
	manyWaiting, fewWaiting = 2000, 200
	// Between attempts to hand a message to a pipeline that refuses for now.
	firstPause, longestPause = 100 * time.Millisecond, 5 * time.Second
)

// worker hands one partition's messages to the pipeline, one by one.
type worker struct {
	place   place
	next    consumer.Traces
	report  *receiverhelper.ObsReport
	log     *zap.Logger
	window  *window
	part    *delivery.Partition
	fetched func(pause bool) // stops the fetching of this partition, or lets it go on
	from    int64            // the offset that was committed when we came
	known   []fate           // what was known then of the messages from there on: an earlier owner has read them

	mu      sync.Mutex
	waiting []*kgo.Record
	paused  bool
	more    chan struct{}
	ended   chan struct{}
}

// give never blocks: rebalances wait for it.
func (w *worker) give(records []*kgo.Record) {
	w.mu.Lock()
	w.waiting = append(w.waiting, records...)
	if !w.paused && len(w.waiting) > manyWaiting {
		w.paused = true
		w.fetched(true)
	}
	w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
}

func (w *worker) take() []*kgo.Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.waiting[:min(len(w.waiting), fewWaiting)]
	w.waiting = w.waiting[len(taken):]
	if w.paused && len(w.waiting) < fewWaiting {
		w.paused = false
		w.fetched(false)
	}
	return taken
}

func (w *worker) run() {
	defer close(w.ended)
	for {
		select {
		case <-w.part.Closing():
			return
		case <-w.more:
		}
		for records := w.take(); len(records) > 0; records = w.take() {
			for _, record := range records {
				if !w.handle(record) {
					return
				}
			}
		}
	}
}

// end is called when the partition goes elsewhere; afterwards its window does not change any more.
func (w *worker) end() {
	w.part.Close()
	<-w.ended
	w.part.End()
}

// handle asks again and again until the pipeline takes the message; it tells whether the partition is still ours.
func (w *worker) handle(record *kgo.Record) bool {
	select {
	case <-w.part.Closing():
		return false
	default:
	}
	found := w.window.open(record.Offset, record.Timestamp)
	if w.read(record) {
		found = w.known[record.Offset-w.from] // the window may have forgotten it
	}
	if found != pending {
		w.recall(record, found)
		return true
	}
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := w.deliver(record)
		if err == nil {
			return true
		}
		if consumererror.IsPermanent(err) {
			w.log.Error("a message cannot be used: passed over", zap.Int64("offset", record.Offset), zap.Error(err))
			w.window.settle(record.Offset, done)
			return true
		}
		w.log.Debug("the pipeline refuses for now", zap.Int64("offset", record.Offset), zap.Error(err))
		select {
		case <-w.part.Closing():
			return false
		case <-time.After(pause):
		}
	}
}

// read tells whether an earlier owner has read a message, and so has counted it.
func (w *worker) read(record *kgo.Record) bool {
	return record.Offset >= w.from && record.Offset < w.from+int64(len(w.known))
}

func (w *worker) deliver(record *kgo.Record) error {
	ctx := w.report.StartTracesOp(context.Background())
	td, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(record.Value)
	if err != nil {
		err = consumererror.NewPermanent(err)
		w.report.EndTracesOp(ctx, "otlp_proto", 0, err)
		return err
	}
	spans := td.SpanCount()
	receipt := delivery.NewReceipt(w.part, w.read(record), func(queued bool) {
		w.window.settle(record.Offset, fateOf(queued))
	})
	// Never cancelled: a queue would take that for a drop. The sampler lets go when the partition is closing.
	err = w.next.ConsumeTraces(delivery.With(ctx, receipt), td)
	w.report.EndTracesOp(ctx, "otlp_proto", spans, err)
	if err == nil {
		receipt.Release(false)
	}
	return err
}

// recall passes on what an earlier owner has decided; the key is the trace's id.
func (w *worker) recall(record *kgo.Record, found fate) {
	var id pcommon.TraceID
	if found != done && len(record.Key) == hex.EncodedLen(len(id)) {
		if _, err := hex.Decode(id[:], record.Key); err == nil {
			w.part.Recall(id, found == kept)
		}
	}
}

func fateOf(queued bool) fate {
	if queued {
		return kept
	}
	return away
}
