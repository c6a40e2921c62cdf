package kafkatraces

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"

	"otel-distro.example/components/delivery"
)

// running is a worker before a pipeline, and what was told about its fetching.
func running(t *testing.T, next func(context.Context, ptrace.Traces) error) (*worker, *[]bool) {
	settings := receiver.Settings{TelemetrySettings: componenttest.NewNopTelemetrySettings()}
	report, err := receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{ReceiverCreateSettings: settings})
	require.NoError(t, err)
	pipeline, err := consumer.NewTraces(next)
	require.NoError(t, err)
	paused := &[]bool{}
	made := &worker{next: pipeline, report: report, log: zap.NewNop(), window: &window{}, part: delivery.NewPartition(),
		more: make(chan struct{}, 1), ended: make(chan struct{}), fetched: func(pause bool) { *paused = append(*paused, pause) }}
	go made.run()
	t.Cleanup(made.end)
	return made, paused
}

func records(t *testing.T, from, to int64) []*kgo.Record {
	td := ptrace.NewTraces()
	span := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetTraceID(pcommon.TraceID{7})
	value, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(td)
	require.NoError(t, err)
	var made []*kgo.Record
	for offset := from; offset < to; offset++ {
		made = append(made, &kgo.Record{Offset: offset, Key: []byte(span.TraceID().String()), Value: value})
	}
	return made
}

func (w *worker) settledBelow(offset int64) bool {
	w.window.mu.Lock()
	defer w.window.mu.Unlock()
	return w.window.base == offset && len(w.window.fates) == 0
}

// Without anybody who keeps spans a message is settled when the pipeline has taken it.
func TestAPipelineThatTakesSettles(t *testing.T) {
	made, _ := running(t, func(context.Context, ptrace.Traces) error { return nil })
	made.give(records(t, 3, 9))
	require.Eventually(t, func() bool { return made.settledBelow(9) }, time.Minute, time.Millisecond)
}

// What a pipeline refuses for now is offered again, in its order; what nobody can read or use is passed over.
func TestRefusedIsOfferedAgainAndUnusableIsPassedOver(t *testing.T) {
	var calls atomic.Int32
	made, _ := running(t, func(context.Context, ptrace.Traces) error {
		switch calls.Add(1) {
		case 1, 2:
			return errors.New("memory is short")
		case 4:
			return consumererror.NewPermanent(errors.New("never"))
		}
		return nil
	})
	batch := records(t, 0, 4)
	batch[1].Value = []byte{0xff, 0xff}
	made.give(batch)
	require.Eventually(t, func() bool { return made.settledBelow(4) }, time.Minute, time.Millisecond)
	require.EqualValues(t, 5, calls.Load(), "three for the first, none for the second, one for each of the others")
}

// A partition that goes elsewhere ends the attempts, and what was refused is not settled.
func TestAPartitionThatGoesTakesWhatWasRefusedAlong(t *testing.T) {
	var calls atomic.Int32
	made, _ := running(t, func(context.Context, ptrace.Traces) error {
		calls.Add(1)
		return errors.New("not now")
	})
	made.give(records(t, 0, 2))
	require.Eventually(t, func() bool { return calls.Load() > 0 }, time.Minute, time.Millisecond)
	made.end()
	base, _, _ := made.window.note()
	require.Zero(t, base)
}

// The next owner learns how the messages were decided that it passes over, and says which ones have been read before.
func TestPassedOverMessagesAreRecalled(t *testing.T) {
	var again atomic.Int32
	made, _ := running(t, func(ctx context.Context, _ ptrace.Traces) error {
		if delivery.From(ctx).Again {
			again.Add(1)
		}
		return nil
	})
	var heard atomic.Int32
	made.part.OnRecall(func(id pcommon.TraceID, was bool) {
		if id == (pcommon.TraceID{7}) && was {
			heard.Add(1)
		}
	})
	made.known = []fate{pending, kept, done, pending}
	made.window.restore(0, slices.Clone(made.known))
	made.give(records(t, 0, 6))
	require.Eventually(t, func() bool { return made.settledBelow(6) }, time.Minute, time.Millisecond)
	require.EqualValues(t, 1, heard.Load())
	require.EqualValues(t, 2, again.Load())
}

// A pipeline that stands still stops the fetching before the memory is full, and it goes on afterwards.
func TestFetchingPausesWhileThePipelineStandsStill(t *testing.T) {
	gate := make(chan struct{})
	made, paused := running(t, func(context.Context, ptrace.Traces) error {
		<-gate
		return nil
	})
	made.give(records(t, 0, manyWaiting+fewWaiting+1))
	made.mu.Lock()
	require.Equal(t, []bool{true}, *paused)
	made.mu.Unlock()
	close(gate)
	require.Eventually(t, func() bool { return made.settledBelow(manyWaiting + fewWaiting + 1) }, time.Minute, time.Millisecond)
	made.mu.Lock()
	require.Equal(t, []bool{true, false}, *paused)
	made.mu.Unlock()
}
