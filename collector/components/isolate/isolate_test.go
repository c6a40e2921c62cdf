package isolate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/connector/connectortest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pipeline"

	"otel-distro.example/components/delivery"
	"otel-distro.example/components/ledger"
	"otel-distro.example/components/wire"
)

var (
	tempo  = pipeline.NewIDWithName(pipeline.SignalTraces, "tempo")
	jaeger = pipeline.NewIDWithName(pipeline.SignalTraces, "jaeger")
	red    = pipeline.NewIDWithName(pipeline.SignalTraces, "red")
)

// host offers a ledger in memory.
type host struct{ ledger *ledger.Extension }

func (h host) GetExtensions() map[component.ID]component.Component {
	return map[component.ID]component.Component{component.NewID(ledger.Type): h.ledger}
}

func newHost(t *testing.T) host {
	factory := ledger.NewFactory()
	made, err := factory.Create(context.Background(), extensiontest.NewNopSettings(ledger.Type), factory.CreateDefaultConfig())
	require.NoError(t, err)
	require.NoError(t, made.Start(context.Background(), componenttest.NewNopHost()))
	return host{made.(*ledger.Extension)}
}

func (h host) sheet() map[ledger.Entry]int64 {
	found := map[ledger.Entry]int64{}
	h.ledger.Book().Each(func(entry ledger.Entry, value int64) { found[entry] = value })
	return found
}

func created(t *testing.T, config *Config, next map[pipeline.ID]consumer.Traces) connector.Traces {
	require.NoError(t, config.Validate())
	made, err := NewFactory().CreateTracesToTraces(context.Background(), connectortest.NewNopSettings(Type), config, connector.NewTracesRouter(next))
	require.NoError(t, err)
	return made
}

func started(t *testing.T, at component.Host, config *Config, next map[pipeline.ID]consumer.Traces) connector.Traces {
	made := created(t, config, next)
	require.NoError(t, made.Start(context.Background(), at))
	return made
}

// mutator is a consumer that writes into what it is given, as an exporter with a batcher does.
type mutator struct{ consumertest.TracesSink }

func (m *mutator) Capabilities() consumer.Capabilities {
	return consumer.Capabilities{MutatesData: true}
}

func (m *mutator) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	err := m.TracesSink.ConsumeTraces(ctx, td)
	td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).SetName("written over")
	return err
}

func batch(names ...string) ptrace.Traces {
	made := ptrace.NewTraces()
	spans := made.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
	for _, name := range names {
		spans.AppendEmpty().SetName(name)
	}
	return made
}

func names(sink *consumertest.TracesSink) []string {
	var found []string
	for _, td := range sink.AllTraces() {
		for _, group := range td.ResourceSpans().All() {
			for _, scope := range group.ScopeSpans().All() {
				for _, span := range scope.Spans().All() {
					found = append(found, span.Name())
				}
			}
		}
	}
	return found
}

func TestOneAcceptedBranchAcknowledgesAndTheOthersDropIsCounted(t *testing.T) {
	at, healthy, counted := newHost(t), new(consumertest.TracesSink), new(consumertest.TracesSink)
	full := consumertest.NewErr(fmt.Errorf("tempo: %w", exporterhelper.ErrQueueIsFull))
	made := started(t, at, &Config{Followers: []pipeline.ID{red}}, map[pipeline.ID]consumer.Traces{tempo: full, jaeger: healthy, red: counted})
	require.NoError(t, made.ConsumeTraces(context.Background(), batch("a", "b")))
	require.Equal(t, []string{"a", "b"}, names(healthy))
	require.Equal(t, []string{"a", "b"}, names(counted))
	require.Equal(t, map[ledger.Entry]int64{
		{Signal: "traces", Backend: "tempo", Stage: "received", In: true}:               2,
		{Signal: "traces", Backend: "jaeger", Stage: "received", In: true}:              2,
		{Signal: "traces", Backend: "tempo", Stage: "dropped", Reason: reasonQueueFull}: 2,
	}, at.sheet())
}

func TestAllRefusedIsRetryableAndCountedNowhereAsReceived(t *testing.T) {
	at, counted := newHost(t), new(consumertest.TracesSink)
	refusing := consumertest.NewErr(exporterhelper.ErrQueueIsFull)
	broken := consumertest.NewErr(consumererror.NewPermanent(errors.New("cannot be stored")))
	made := started(t, at, &Config{Followers: []pipeline.ID{red}}, map[pipeline.ID]consumer.Traces{tempo: refusing, jaeger: broken, red: counted})
	err := made.ConsumeTraces(context.Background(), batch("a"))
	require.ErrorContains(t, err, "every branch refused")
	require.False(t, consumererror.IsPermanent(err), "one branch may take it later")
	require.Empty(t, names(counted), "it comes again, and would be counted twice")
	require.Empty(t, at.sheet())
}

func TestBehindASamplerWhatAllRefuseIsACountedDrop(t *testing.T) {
	at, refusing := newHost(t), consumertest.NewErr(exporterhelper.ErrQueueIsFull)
	made := started(t, at, &Config{Leaves: "sampler"}, map[pipeline.ID]consumer.Traces{tempo: refusing, jaeger: refusing})
	require.Error(t, made.ConsumeTraces(context.Background(), batch("a", "b")))
	require.Equal(t, map[ledger.Entry]int64{
		{Signal: "traces", Backend: "sampler", Stage: "kept"}:                            2,
		{Signal: "traces", Backend: "tempo", Stage: "received", In: true}:                2,
		{Signal: "traces", Backend: "jaeger", Stage: "received", In: true}:               2,
		{Signal: "traces", Backend: "tempo", Stage: "dropped", Reason: reasonQueueFull}:  2,
		{Signal: "traces", Backend: "jaeger", Stage: "dropped", Reason: reasonQueueFull}: 2,
	}, at.sheet())
}

func TestAllRefusedForGoodIsPermanent(t *testing.T) {
	broken := consumertest.NewErr(consumererror.NewPermanent(errors.New("cannot be stored")))
	made := started(t, newHost(t), &Config{}, map[pipeline.ID]consumer.Traces{tempo: broken, jaeger: broken})
	require.True(t, consumererror.IsPermanent(made.ConsumeTraces(context.Background(), batch("a"))))
}

func TestARefusingFollowerIsNoReasonToSendAgain(t *testing.T) {
	healthy := new(consumertest.TracesSink)
	made := started(t, newHost(t), &Config{Followers: []pipeline.ID{red}}, map[pipeline.ID]consumer.Traces{tempo: healthy, red: consumertest.NewErr(errors.New("no"))})
	require.NoError(t, made.ConsumeTraces(context.Background(), batch("a")))
	require.Equal(t, []string{"a"}, names(healthy))
}

func TestBranchesThatWriteNeverShareABatch(t *testing.T) {
	first, second, counted := new(mutator), new(mutator), new(consumertest.TracesSink)
	made := started(t, newHost(t), &Config{Followers: []pipeline.ID{red}}, map[pipeline.ID]consumer.Traces{tempo: first, jaeger: second, red: counted})
	require.NoError(t, made.ConsumeTraces(context.Background(), batch("a", "b")))
	for _, sink := range []*consumertest.TracesSink{&first.TracesSink, &second.TracesSink} {
		require.Equal(t, []string{"written over", "b"}, names(sink))
	}
	require.Equal(t, []string{"a", "b"}, names(counted))
}

func TestStoredBranchesShareTheBatchItself(t *testing.T) {
	first, second := new(mutator), new(consumertest.TracesSink)
	made := started(t, newHost(t), &Config{Stored: []pipeline.ID{jaeger}}, map[pipeline.ID]consumer.Traces{jaeger: first, tempo: second})
	require.NoError(t, made.ConsumeTraces(context.Background(), batch("a", "b")))
	require.Equal(t, []string{"written over", "b"}, names(second), "no copy was made for the branch that is said to write to disk only")
}

// bytesSink keeps what a branch that queues bytes is given.
type bytesSink struct {
	consumertest.TracesSink
	bodies [][]byte
}

func (b *bytesSink) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	found, err := wire.Encode(ctx, td)
	b.bodies = append(b.bodies, found.Body)
	return errors.Join(err, b.TracesSink.ConsumeTraces(ctx, td))
}

func TestStoredBranchesShareTheEncodingOfWhatTheyAreGiven(t *testing.T) {
	first, second, other := new(bytesSink), new(bytesSink), new(mutator)
	made := started(t, newHost(t), &Config{MaxSpanBytes: 5000, Stored: []pipeline.ID{tempo, jaeger}},
		map[pipeline.ID]consumer.Traces{tempo: first, jaeger: second, red: other})
	large := batch("a", strings.Repeat("x", 100_000))
	for _, each := range []ptrace.Traces{batch("a"), large} {
		require.NoError(t, made.ConsumeTraces(context.Background(), each))
	}
	for i := range 2 {
		require.Same(t, &first.bodies[i][0], &second.bodies[i][0])
	}
	require.Less(t, len(first.bodies[1]), 100_000, "encoded behind the shortening")
	require.Contains(t, string(first.bodies[1]), truncatedAttribute)
	require.NotContains(t, string(first.bodies[1]), "written over")
}

func TestAnOversizedSpanIsShortenedAndItsNeighboursArriveWhole(t *testing.T) {
	healthy := new(consumertest.TracesSink)
	made := started(t, newHost(t), &Config{MaxSpanBytes: 100_000}, map[pipeline.ID]consumer.Traces{tempo: healthy})
	large := batch("neighbour", "large", "neighbour")
	text := strings.Repeat("é", 500_000)
	attributes := large.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(1).Attributes()
	attributes.PutStr("db.query.text", text)
	attributes.PutEmptySlice("list").AppendEmpty().SetStr(text)
	require.NoError(t, made.ConsumeTraces(context.Background(), large))
	require.Equal(t, []string{"neighbour", "large", "neighbour"}, names(healthy))
	kept := healthy.AllTraces()[0].ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(1)
	value, _ := kept.Attributes().Get("db.query.text")
	require.True(t, strings.HasPrefix(text, value.Str()), "never cut through a character")
	require.Len(t, value.Str(), 16_384)
	marked, _ := kept.Attributes().Get(truncatedAttribute)
	require.Greater(t, marked.Int(), int64(2_000_000))
}

func TestASpanThatCannotBeShortenedIsDroppedAloneAndCounted(t *testing.T) {
	at, healthy := newHost(t), new(consumertest.TracesSink)
	made := started(t, at, &Config{MaxSpanBytes: 4096}, map[pipeline.ID]consumer.Traces{tempo: healthy})
	td := batch("neighbour", "large")
	td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(1).TraceState().FromRaw(strings.Repeat("x", 9000))
	require.NoError(t, made.ConsumeTraces(context.Background(), td))
	require.Equal(t, []string{"neighbour"}, names(healthy))
	require.Equal(t, map[ledger.Entry]int64{
		{Signal: "traces", Backend: "tempo", Stage: "received", In: true}:               2,
		{Signal: "traces", Backend: "tempo", Stage: "dropped", Reason: reasonOversized}: 1,
	}, at.sheet())
}

func TestABatchOfNothingButOversizedSpansIsAcknowledgedAndCounted(t *testing.T) {
	at, healthy := newHost(t), new(consumertest.TracesSink)
	made := started(t, at, &Config{MaxSpanBytes: 4096}, map[pipeline.ID]consumer.Traces{tempo: healthy})
	td := batch("large")
	td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).TraceState().FromRaw(strings.Repeat("x", 9000))
	require.NoError(t, made.ConsumeTraces(context.Background(), td))
	require.Empty(t, healthy.AllTraces())
	require.Equal(t, map[ledger.Entry]int64{
		{Signal: "traces", Backend: "tempo", Stage: "received", In: true}:               1,
		{Signal: "traces", Backend: "tempo", Stage: "dropped", Reason: reasonOversized}: 1,
	}, at.sheet())
}

func TestEventsLinksAndAttributesGoBeforeTheSpanDoes(t *testing.T) {
	span := ptrace.NewSpan()
	for range 2000 {
		span.Events().AppendEmpty().SetName("e")
		span.Links().AppendEmpty()
	}
	for i := range 2000 {
		span.Attributes().PutInt(fmt.Sprint("key", i), 1)
	}
	require.True(t, fit(span, sizes.SpanSize(span), 1000))
	require.LessOrEqual(t, sizes.SpanSize(span), 1000)
	require.Equal(t, []uint32{2000, 2000, 2000}, []uint32{span.DroppedEventsCount(), span.DroppedLinksCount(), span.DroppedAttributesCount()})
}

func TestAResourceThatIsTooLargeIsShortened(t *testing.T) {
	td := batch("a")
	td.ResourceSpans().At(0).Resource().Attributes().PutStr("process.command_line", strings.Repeat("x", 1_000_000))
	truncated, dropped := trimmer{100_000}.traces(td)
	require.Equal(t, []int{0, 0}, []int{truncated, dropped})
	require.LessOrEqual(t, sizes.TracesSize(td), 100_000)
	require.Equal(t, 1, td.SpanCount())
}

func TestLogsAndMetricsAreIsolatedAsWell(t *testing.T) {
	ctx, factory, set := context.Background(), NewFactory(), connectortest.NewNopSettings(Type)
	config := factory.CreateDefaultConfig()
	lines, points := new(consumertest.LogsSink), new(consumertest.MetricsSink)
	full := consumertest.NewErr(exporterhelper.ErrQueueIsFull)
	logs, err := factory.CreateLogsToLogs(ctx, set, config, connector.NewLogsRouter(map[pipeline.ID]consumer.Logs{
		pipeline.NewIDWithName(pipeline.SignalLogs, "a"): lines, pipeline.NewIDWithName(pipeline.SignalLogs, "b"): full}))
	require.NoError(t, err)
	metrics, err := factory.CreateMetricsToMetrics(ctx, set, config, connector.NewMetricsRouter(map[pipeline.ID]consumer.Metrics{
		pipeline.NewIDWithName(pipeline.SignalMetrics, "a"): points, pipeline.NewIDWithName(pipeline.SignalMetrics, "b"): full}))
	require.NoError(t, err)
	require.NoError(t, errors.Join(logs.Start(ctx, newHost(t)), metrics.Start(ctx, newHost(t))))
	ld, md := plog.NewLogs(), pmetric.NewMetrics()
	ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty().SetEmptyGauge().DataPoints().AppendEmpty()
	require.NoError(t, logs.ConsumeLogs(ctx, ld))
	require.NoError(t, metrics.ConsumeMetrics(ctx, md))
	require.Equal(t, []int{1, 1}, []int{lines.LogRecordCount(), points.DataPointCount()})
}

func TestABadConfigurationIsNamedAtTheStart(t *testing.T) {
	require.ErrorContains(t, (&Config{MaxSpanBytes: 1}).Validate(), "max_span_bytes")
	for problem, config := range map[string]*Config{
		"follower traces/red has no receiver": {Followers: []pipeline.ID{red}},
		"there is no backend":                 {Followers: []pipeline.ID{tempo}},
	} {
		_, err := NewFactory().CreateTracesToTraces(context.Background(), connectortest.NewNopSettings(Type), config,
			connector.NewTracesRouter(map[pipeline.ID]consumer.Traces{tempo: consumertest.NewNop()}))
		require.ErrorContains(t, err, problem)
	}
}

func TestReasonsAreAClosedSet(t *testing.T) {
	for reason, err := range map[string]error{
		reasonQueueFull: fmt.Errorf("x: %w", exporterhelper.ErrQueueIsFull),
		reasonDiskFull:  fmt.Errorf("write: %w", syscall.ENOSPC),
		reasonMemory:    errors.New("data refused due to high memory usage"),
		reasonCancelled: context.Canceled,
		reasonPermanent: consumererror.NewPermanent(errors.New("x")),
		reasonOther:     errors.New("x"),
	} {
		require.Equal(t, reason, reasonOf(err))
	}
}

// A batch that comes again when all refuse it is no drop, and leaves the sampler's account once.
func TestBehindASamplerThatComesAgainNothingIsDropped(t *testing.T) {
	at := newHost(t)
	full := true
	gate, err := consumer.NewTraces(func(context.Context, ptrace.Traces) error {
		if full {
			return exporterhelper.ErrQueueIsFull
		}
		return nil
	})
	require.NoError(t, err)
	made := started(t, at, &Config{Leaves: "sampler"}, map[pipeline.ID]consumer.Traces{tempo: gate})
	ctx := delivery.WithReturn(context.Background())
	require.Error(t, made.ConsumeTraces(ctx, batch("a", "b", "c")))
	require.Empty(t, at.sheet())
	full = false
	require.NoError(t, made.ConsumeTraces(ctx, batch("a", "b", "c")))
	require.Equal(t, map[ledger.Entry]int64{
		{Signal: "traces", Backend: "tempo", Stage: "received", In: true}: 3,
		{Signal: "traces", Backend: "sampler", Stage: "kept"}:             3,
	}, at.sheet())
}

// What a sampler keeps for Kafka it counts itself, and what another has read before is not counted again by followers.
func TestBehindKafkaTheSamplerCountsAndFollowersCountOnce(t *testing.T) {
	at, followed := newHost(t), new(consumertest.TracesSink)
	sampler := pipeline.NewIDWithName(pipeline.SignalTraces, "sampler")
	keeper, err := consumer.NewTraces(func(ctx context.Context, _ ptrace.Traces) error {
		delivery.From(ctx).Account = "sampler"
		return nil
	})
	require.NoError(t, err)
	made := started(t, at, &Config{Followers: []pipeline.ID{red}}, map[pipeline.ID]consumer.Traces{sampler: keeper, red: followed})
	for _, again := range []bool{false, true} {
		receipt := delivery.NewReceipt(delivery.NewPartition(), again, func(bool) {})
		require.NoError(t, made.ConsumeTraces(delivery.With(context.Background(), receipt), batch("a", "b")))
	}
	require.Equal(t, 2, followed.SpanCount())
	require.Empty(t, at.sheet())
}
