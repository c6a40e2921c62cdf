package isolate

import (
	"context"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pipeline"

	"otel-distro.example/components/ledger"
)

// While the disk is nearly full nobody takes anything: the sender keeps it, and no account has received it.
func TestANearlyFullDiskRefusesBeforeAQueueDoes(t *testing.T) {
	at, sink := newHost(t), new(consumertest.TracesSink)
	branches := map[pipeline.ID]consumer.Traces{tempo: sink}
	made := started(t, at, &Config{Directory: t.TempDir(), MinFreeBytes: math.MaxInt64}, branches)
	err := made.ConsumeTraces(context.Background(), batch("a"))
	require.ErrorContains(t, err, "min_free_bytes")
	require.False(t, consumererror.IsPermanent(err))
	require.Zero(t, sink.SpanCount())
	require.Empty(t, at.sheet())
}

// The receiver may listen before the queues behind the connector are there: they must not be asked.
func TestBeforeItsStartNothingIsTaken(t *testing.T) {
	at, sink := newHost(t), new(consumertest.TracesSink)
	made := created(t, &Config{}, map[pipeline.ID]consumer.Traces{tempo: sink})
	err := made.ConsumeTraces(context.Background(), batch("a"))
	require.ErrorIs(t, err, errStarting)
	require.False(t, consumererror.IsPermanent(err))
	require.Zero(t, sink.SpanCount())
	require.NoError(t, made.Start(context.Background(), at))
	require.NoError(t, made.ConsumeTraces(context.Background(), batch("a")))
	require.Equal(t, 1, sink.SpanCount())
}

// A follower with an account: what it takes and what it refuses stands in the ledger, and the sender is none the wiser.
func TestAFollowerMayHaveAnAccount(t *testing.T) {
	at, full := newHost(t), false
	sentry := pipeline.NewIDWithName(pipeline.SignalTraces, "sentry")
	gate, err := consumer.NewTraces(func(context.Context, ptrace.Traces) error {
		if full {
			return exporterhelper.ErrQueueIsFull
		}
		return nil
	})
	require.NoError(t, err)
	config := &Config{Followers: []pipeline.ID{red, sentry}, Accounts: []pipeline.ID{sentry}}
	require.NoError(t, config.Validate())
	branches := map[pipeline.ID]consumer.Traces{tempo: new(consumertest.TracesSink), red: new(consumertest.TracesSink), sentry: gate}
	made := started(t, at, config, branches)
	require.NoError(t, made.ConsumeTraces(context.Background(), batch("a", "b")))
	full = true
	require.NoError(t, made.ConsumeTraces(context.Background(), batch("c")))
	require.Equal(t, map[ledger.Entry]int64{
		{Signal: "traces", Backend: "tempo", Stage: "received", In: true}:             3,
		{Signal: "traces", Backend: "sentry", Stage: "received", In: true}:            3,
		{Signal: "traces", Backend: "sentry", Stage: "dropped", Reason: "queue_full"}: 1,
	}, at.sheet())
	require.ErrorContains(t, (&Config{Accounts: []pipeline.ID{sentry}}).Validate(), "no follower")
}

func TestRoomEnoughOrADirectoryThatIsNotThereRefusesNothing(t *testing.T) {
	for _, config := range []*Config{
		{Directory: t.TempDir(), MinFreeBytes: 1},
		{Directory: filepath.Join(t.TempDir(), "later"), MinFreeBytes: math.MaxInt64},
	} {
		require.NoError(t, config.Validate())
		require.NoError(t, config.room().refusal())
	}
	require.ErrorContains(t, (&Config{MinFreeBytes: 1}).Validate(), "directory")
}
