package delivery

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// A message is settled once, by the last who held it, and is kept when anybody kept a part of it.
func TestReceiptIsSettledByItsLastHolder(t *testing.T) {
	var settled []bool
	receipt := NewReceipt(NewPartition(), false, func(kept bool) { settled = append(settled, kept) })
	receipt.Hold()
	receipt.Hold()
	receipt.Release(true)
	receipt.Release(false)
	require.Empty(t, settled)
	receipt.Release(false)
	require.Equal(t, []bool{true}, settled)
}

// A partition ends once, tells so before, and passes decisions on to whoever asked for them.
func TestPartitionEndsOnceAndPassesDecisionsOn(t *testing.T) {
	partition, ends, heard := NewPartition(), 0, map[pcommon.TraceID]bool{}
	partition.Recall(pcommon.TraceID{1}, true)
	partition.AtEnd(func() { ends++ })
	partition.OnRecall(func(id pcommon.TraceID, kept bool) { heard[id] = kept })
	partition.Recall(pcommon.TraceID{2}, true)
	partition.Close()
	partition.Close()
	<-partition.Closing()
	partition.End()
	partition.End()
	require.Equal(t, 1, ends)
	require.Equal(t, map[pcommon.TraceID]bool{{2}: true}, heard)
}

// What a batch came from, and that it comes again, is in its context and nowhere else.
func TestContextCarriesReceiptAndReturn(t *testing.T) {
	receipt := NewReceipt(NewPartition(), true, func(bool) {})
	require.Nil(t, From(context.Background()))
	require.False(t, Returns(context.Background()))
	require.Same(t, receipt, From(With(context.Background(), receipt)))
	require.True(t, Returns(WithReturn(context.Background())))
}
