package otlpbytes

import (
	"context"
	"net"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/exporter/exporterhelper/xexporterhelper"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/xpdata/request"
	"go.uber.org/zap"
)

var (
	records = encoding{zap.NewNop(), true}
	plain   = encoding{zap.NewNop(), false}
	known   = client.NewContext(context.Background(), client.Info{
		Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 4317}, Metadata: client.NewMetadata(map[string][]string{"tenant": {"acme"}}),
	})
)

func bytesOf(t *testing.T, given ...string) *batch {
	t.Helper()
	made, err := converted(context.Background(), spans(given...))
	require.NoError(t, err)
	return made.(*batch)
}

func decodedNames(t *testing.T, from xexporterhelper.Request) []string {
	t.Helper()
	found := from.(*batch)
	body := make([]byte, found.SizeProto())
	require.Equal(t, found.BytesSize(), found.MarshalProto(body))
	traces, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(body)
	require.NoError(t, err)
	require.Equal(t, found.ItemsCount(), traces.SpanCount())
	return names(traces)
}

func TestARecordHoldsTheSpansAndWhoSentThem(t *testing.T) {
	merged, err := bytesOf(t, "a", "b").MergeSplit(context.Background(), 0, exporterhelper.RequestSizerTypeBytes, bytesOf(t, "c"))
	require.NoError(t, err)
	for _, way := range []encoding{records, plain} {
		record, err := way.Marshal(known, merged[0])
		require.NoError(t, err)
		require.Equal(t, way.pack, len(record) < merged[0].BytesSize()/5)
		ctx, found, err := records.Unmarshal(record)
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b", "c"}, decodedNames(t, found))
		require.Equal(t, "10.0.0.7:4317", client.FromContext(ctx).Addr.String())
		require.Equal(t, []string{"acme"}, client.FromContext(ctx).Metadata.Get("tenant"))
	}
}

func TestTheStockExporterReadsAnUnpackedRecordAndItsOwnAreRead(t *testing.T) {
	record, err := records.Marshal(known, bytesOf(t, "a", "b"))
	require.NoError(t, err)
	_, _, err = xexporterhelper.NewTracesQueueBatchSettings().Encoding.Unmarshal(record)
	require.Error(t, err, "a packed one it must not take for a batch of no spans")
	record, err = plain.Marshal(known, bytesOf(t, "a", "b"))
	require.NoError(t, err)
	ctx, traces, err := request.UnmarshalTraces(record)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, names(traces))
	require.Equal(t, "10.0.0.7:4317", client.FromContext(ctx).Addr.String())

	stock, err := request.MarshalTraces(known, spans("c"))
	require.NoError(t, err)
	ctx, found, err := records.Unmarshal(stock)
	require.NoError(t, err)
	require.Equal(t, []string{"c"}, decodedNames(t, found))
	require.Equal(t, "10.0.0.7:4317", client.FromContext(ctx).Addr.String())

	older, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(spans("d"))
	require.NoError(t, err)
	_, found, err = records.Unmarshal(older)
	require.NoError(t, err)
	require.Equal(t, []string{"d"}, decodedNames(t, found), "before there were senders in a record")
}

func TestADamagedRecordNeverReachesABackendUnread(t *testing.T) {
	for _, way := range []encoding{records, plain} {
		whole, err := way.Marshal(known, bytesOf(t, "a"))
		require.NoError(t, err)
		for at := range whole {
			damaged := slices.Clone(whole)
			damaged[at] ^= 0x80
			_, ok := checked(damaged)
			require.False(t, ok, at)
			_, found, err := way.Unmarshal(damaged)
			if err == nil {
				decodedNames(t, found) // decoded here, as the stock exporter does: what is left is OTLP
			}
			require.True(t, err != nil || !way.pack, "what is packed is whole or nothing")
			_, _, _ = way.Unmarshal(whole[:at])
		}
	}
	_, _, err := records.Unmarshal(make([]byte, 4096))
	require.Error(t, err, "a page that was never written")
}

func TestWhatIsTooLargeIsSplitWithoutLoss(t *testing.T) {
	first, second := bytesOf(t, "a", "b"), bytesOf(t, "c", "d", "e")
	for by, limit := range map[exporterhelper.RequestSizerType]int{
		exporterhelper.RequestSizerTypeBytes: 2_500, exporterhelper.RequestSizerTypeItems: 2,
	} {
		parts, err := first.MergeSplit(context.Background(), limit, by, second)
		require.NoError(t, err)
		var found []string
		for _, part := range parts {
			size := part.BytesSize()
			if by == exporterhelper.RequestSizerTypeItems {
				size = part.ItemsCount()
			}
			require.LessOrEqual(t, size, limit)
			found = append(found, decodedNames(t, part)...)
		}
		require.Equal(t, []string{"a", "b", "c", "d", "e"}, found)
	}
	require.Equal(t, []string{"a", "b"}, decodedNames(t, first), "and what was given is as it was")
}

func TestASpanThatFitsNowhereIsSaid(t *testing.T) {
	_, err := bytesOf(t, "a").MergeSplit(context.Background(), 500, exporterhelper.RequestSizerTypeBytes, nil)
	require.ErrorContains(t, err, "greater than max size")
}
