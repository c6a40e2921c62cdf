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
	"go.opentelemetry.io/collector/pipeline"
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
