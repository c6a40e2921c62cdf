package sampler

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/tailsamplingprocessor"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"

	"otel-distro.example/components/delivery"
)

// message is a batch from Kafka: 0 as long as it is not settled, 1 kept, 2 sampled away.
type message struct{ fate atomic.Int32 }

func sent(t *testing.T, to processor.Traces, partition *delivery.Partition, td ptrace.Traces) *message {
	made := &message{}
	receipt := delivery.NewReceipt(partition, false, func(kept bool) {
		if kept {
			made.fate.Store(1)
		} else {
			made.fate.Store(2)
		}
	})
	require.NoError(t, to.ConsumeTraces(delivery.With(context.Background(), receipt), td))
	receipt.Release(false)
	return made
}

func (m *message) becomes(t *testing.T, fate int32) {
	require.Eventually(t, func() bool { return m.fate.Load() == fate }, time.Minute, 10*time.Millisecond)
}

func running(t *testing.T, at host, next consumer.Traces) processor.Traces {
	factory := NewFactory()
	config := factory.CreateDefaultConfig().(*Config)
	config.DecisionWait = wait
	config.PolicyCfgs = []tailsamplingprocessor.PolicyCfg{errorsOnly()}
	made, err := factory.CreateTraces(context.Background(), processortest.NewNopSettings(factory.Type()), config, next)
	require.NoError(t, err)
	require.NoError(t, made.Start(context.Background(), at))
	t.Cleanup(func() { require.NoError(t, made.Shutdown(context.Background())) })
	return made
}

// A message is settled when its trace is decided and queued, not when it was read; so are late ones, at once.
func TestMessagesAreSettledByTheDecision(t *testing.T) {
	t.Parallel()
	at, sink, partition := newHost(t), new(consumertest.TracesSink), delivery.NewPartition()
	made := running(t, at, sink)
	first := sent(t, made, partition, trace(1, ptrace.StatusCodeUnset, 2))
	second := sent(t, made, partition, trace(1, ptrace.StatusCodeError, 3))
	third := sent(t, made, partition, trace(2, ptrace.StatusCodeOk, 4))
	require.Zero(t, first.fate.Load()+second.fate.Load()+third.fate.Load())
	require.Empty(t, at.sheet(), "until then they are in Kafka's keeping")
	first.becomes(t, 1)
	second.becomes(t, 1)
	third.becomes(t, 2)
	require.Equal(t, 5, sink.SpanCount())
	sent(t, made, partition, trace(1, ptrace.StatusCodeOk, 1)).becomes(t, 1)
	sent(t, made, partition, trace(2, ptrace.StatusCodeOk, 1)).becomes(t, 2)
	require.Equal(t, 6, sink.SpanCount())
	require.Equal(t, map[string]int64{"sampler received ": 11, "sampler sampled_away ": 4, "sampler sampled_away late": 1}, at.sheet())
}

// While every queue is full a kept trace is offered again and its message is not settled; nothing is lost.
func TestFullQueuesKeepTheMessage(t *testing.T) {
	t.Parallel()
	at, sink, partition := newHost(t), new(consumertest.TracesSink), delivery.NewPartition()
	var full atomic.Bool
	full.Store(true)
	var offered atomic.Int32
	next, err := consumer.NewTraces(func(ctx context.Context, td ptrace.Traces) error {
		offered.Add(1)
		if full.Load() {
			require.True(t, delivery.Returns(ctx))
			return errors.New("every branch refused")
		}
		return sink.ConsumeTraces(ctx, td)
	})
	require.NoError(t, err)
	waiting := sent(t, running(t, at, next), partition, trace(1, ptrace.StatusCodeError, 2))
	require.Eventually(t, func() bool { return offered.Load() > 2 }, time.Minute, 10*time.Millisecond)
	require.Zero(t, waiting.fate.Load())
	full.Store(false)
	waiting.becomes(t, 1)
	require.Equal(t, 2, sink.SpanCount())
}

// While nothing can be committed nothing is queued or counted: another owner may have to do it.
func TestWithoutCommitsNothingIsDecided(t *testing.T) {
	t.Parallel()
	at, sink, partition := newHost(t), new(consumertest.TracesSink), delivery.NewPartition()
	made := running(t, at, sink)
	partition.Hold(true)
	keep := sent(t, made, partition, trace(1, ptrace.StatusCodeError, 2))
	leave := sent(t, made, partition, trace(2, ptrace.StatusCodeOk, 3))
	time.Sleep(wait + 2*time.Second) // behind the decision
	require.Zero(t, keep.fate.Load()+leave.fate.Load())
	require.Zero(t, sink.SpanCount())
	require.Empty(t, at.sheet())
	partition.Hold(false)
	keep.becomes(t, 1)
	leave.becomes(t, 2)
	require.Equal(t, 2, sink.SpanCount())
}

// A partition that goes elsewhere takes its undecided traces along: here they are neither decided nor counted.
func TestUndecidedTracesGoWithTheirPartition(t *testing.T) {
	t.Parallel()
	at, sink, partition := newHost(t), new(consumertest.TracesSink), delivery.NewPartition()
	made := running(t, at, sink)
	left := sent(t, made, partition, trace(1, ptrace.StatusCodeError, 2))
	partition.Close()
	partition.End()
	partition = delivery.NewPartition() // it comes back, with the messages that were not settled, and one decision
	again := sent(t, made, partition, trace(1, ptrace.StatusCodeError, 2))
	partition.Recall(pcommon.TraceID{1, 15: 3}, false)
	sent(t, made, partition, trace(3, ptrace.StatusCodeError, 1)).becomes(t, 2)
	again.becomes(t, 1)
	require.Equal(t, 2, sink.SpanCount(), "the first copy was forgotten")
	require.Zero(t, left.fate.Load())
	require.Equal(t, map[string]int64{"sampler received ": 3, "sampler sampled_away late": 1}, at.sheet())
}
