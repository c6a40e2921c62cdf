package otlpbytes

import (
	"context"
	"maps"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"otel-distro.example/components/wire"
)

var (
	id    = component.MustNewIDWithName("otlp_grpc", "tempo")
	store = component.MustNewID("file_storage")
)

// disk is a store that outlives the exporters that use it.
type disk struct {
	component.StartFunc
	component.ShutdownFunc
	mu   sync.Mutex
	held map[string][]byte
}

func (d *disk) GetClient(context.Context, component.Kind, component.ID, string) (storage.Client, error) {
	return d, nil
}

func (d *disk) Get(_ context.Context, key string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.held[key], nil
}

func (d *disk) Set(ctx context.Context, key string, value []byte) error {
	return d.Batch(ctx, storage.SetOperation(key, value))
}

func (d *disk) Delete(ctx context.Context, key string) error {
	return d.Batch(ctx, storage.DeleteOperation(key))
}

func (d *disk) Batch(_ context.Context, operations ...*storage.Operation) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, each := range operations {
		switch each.Type {
		case storage.Get:
			each.Value = d.held[each.Key]
		case storage.Set:
			d.held[each.Key] = append([]byte(nil), each.Value...)
		case storage.Delete:
			delete(d.held, each.Key)
		}
	}
	return nil
}

func (d *disk) Close(context.Context) error { return nil }

func (d *disk) GetExtensions() map[component.ID]component.Component {
	return map[component.ID]component.Component{store: d}
}

// backend keeps the names of the spans that it accepted, and answers what it is told to.
type backend struct {
	ptraceotlp.UnimplementedGRPCServer
	mu       sync.Mutex
	answer   error
	names    []string
	requests int
}

func (b *backend) Export(_ context.Context, request ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests++
	if b.answer == nil {
		b.names = append(b.names, names(request.Traces())...)
	}
	return ptraceotlp.NewExportResponse(), b.answer
}

func (b *backend) say(answer error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = answer
}

func (b *backend) got() ([]string, int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.names...), b.requests
}

func (b *backend) address(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	ptraceotlp.RegisterGRPCServer(server, b)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

func spans(given ...string) ptrace.Traces {
	made := ptrace.NewTraces()
	group := made.ResourceSpans().AppendEmpty()
	group.Resource().Attributes().PutStr("service.name", "shop")
	scope := group.ScopeSpans().AppendEmpty()
	for _, name := range given {
		span := scope.Spans().AppendEmpty()
		span.SetName(name)
		span.Attributes().PutStr("padding", string(make([]byte, 1000)))
	}
	return made
}

func names(from ptrace.Traces) (found []string) {
	for _, group := range from.ResourceSpans().All() {
		for _, scope := range group.ScopeSpans().All() {
			for _, span := range scope.Spans().All() {
				found = append(found, span.Name())
			}
		}
	}
	return found
}

// started is an exporter with a queue in that store.
func started(t *testing.T, factory exporter.Factory, in *disk, address, compression string) exporter.Traces {
	t.Helper()
	config := factory.CreateDefaultConfig()
	given := confmap.NewFromStringMap(map[string]any{
		"endpoint": address, "tls": map[string]any{"insecure": true}, "compression": "none",
		"retry_on_failure": map[string]any{"initial_interval": "10ms", "max_elapsed_time": 0},
		"sending_queue": map[string]any{"storage": store.String(), "sizer": "bytes", "queue_size": 1_000_000,
			"batch": map[string]any{"sizer": "bytes", "min_size": 5_000, "max_size": 20_000, "flush_timeout": "20ms"}},
	})
	if ours, ok := config.(*Config); ok {
		ours.QueueCompression = compression
	}
	require.NoError(t, given.Unmarshal(config))
	require.NoError(t, config.(interface{ Validate() error }).Validate())
	set := exportertest.NewNopSettings(factory.Type())
	set.ID = id
	made, err := factory.CreateTraces(context.Background(), set, config)
	require.NoError(t, err)
	require.NoError(t, made.Start(context.Background(), in))
	return made
}

func (b *backend) eventually(t *testing.T, wanted ...string) {
	require.Eventually(t, func() bool {
		found, _ := b.got()
		return len(found) >= len(wanted)
	}, time.Minute, 5*time.Millisecond)
	found, _ := b.got()
	require.ElementsMatch(t, wanted, found)
}

func keys(held *disk) (found []string) {
	held.mu.Lock()
	defer held.mu.Unlock()
	for key := range maps.Keys(held.held) {
		found = append(found, key)
	}
	return found
}

func TestWhatIsQueuedArrivesInFewRequests(t *testing.T) {
	to, held := &backend{}, &disk{held: map[string][]byte{}}
	made := started(t, NewFactory(), held, to.address(t), packed)
	require.False(t, made.Capabilities().MutatesData, "a fan-out would copy every batch")
	var wanted []string
	for i := range 30 {
		name := string(rune('A' + i))
		wanted = append(wanted, name)
		require.NoError(t, made.ConsumeTraces(context.Background(), spans(name)))
	}
	to.eventually(t, wanted...)
	_, requests := to.got()
	require.Less(t, requests, len(wanted), "they are merged")
	require.NoError(t, made.Shutdown(context.Background()))
	require.Equal(t, []string{"qmv0"}, keys(held), "what was delivered leaves the queue")
}

func TestWhatWasNotDeliveredIsDeliveredAfterAStop(t *testing.T) {
	stock, ours := otlpexporter.NewFactory(), NewFactory()
	for name, factories := range map[string][2]exporter.Factory{
		"ours": {ours, ours}, "an older collector's queue": {stock, ours}, "back to the stock exporter": {ours, stock},
	} {
		t.Run(name, func(t *testing.T) {
			to, held := &backend{answer: status.Error(codes.Unavailable, "away")}, &disk{held: map[string][]byte{}}
			first := started(t, factories[0], held, to.address(t), unpacked)
			require.NoError(t, first.ConsumeTraces(context.Background(), spans("a", "b")))
			require.NoError(t, first.ConsumeTraces(context.Background(), spans("c")))
			require.NoError(t, first.Shutdown(context.Background()))
			to.say(nil)
			second := started(t, factories[1], held, to.address(t), packed)
			to.eventually(t, "a", "b", "c")
			require.NoError(t, second.Shutdown(context.Background()))
		})
	}
}

func TestARefusalIsRetriedOrForGood(t *testing.T) {
	throttled, err := status.New(codes.ResourceExhausted, "later").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Millisecond)})
	require.NoError(t, err)
	for answer, again := range map[*status.Status]bool{
		status.New(codes.Unavailable, "away"):      true,
		status.New(codes.DeadlineExceeded, "slow"): true,
		throttled: true,
		status.New(codes.ResourceExhausted, "quota"):      false,
		status.New(codes.InvalidArgument, "schema"):       false,
		status.New(codes.Unauthenticated, "old token"):    false,
		status.New(codes.Internal, "cannot unmarshal it"): false,
	} {
		to, held := &backend{answer: answer.Err()}, &disk{held: map[string][]byte{}}
		made := started(t, NewFactory(), held, to.address(t), packed)
		require.NoError(t, made.ConsumeTraces(context.Background(), spans("a")))
		require.Eventually(t, func() bool {
			_, requests := to.got()
			return requests > 0 && (again || len(keys(held)) == 1)
		}, time.Minute, time.Millisecond, answer)
		to.say(nil)
		if again {
			to.eventually(t, "a")
		}
		require.NoError(t, made.Shutdown(context.Background()))
		found, _ := to.got()
		require.Equal(t, again, len(found) == 1, answer)
	}
}

func TestAnAnswerThatIsNoOTLPIsARefusal(t *testing.T) {
	answer := ptraceotlp.NewExportResponse()
	err := wire.Codec{}.Unmarshal(mem.BufferSlice{mem.SliceBuffer("\xff\xff\xffno protobuf")}, answer)
	require.Error(t, err, "gRPC makes it Internal, which is what the stock exporter hears")
	partial := ptraceotlp.NewExportResponse()
	partial.PartialSuccess().SetRejectedSpans(3)
	body, err := partial.MarshalProto()
	require.NoError(t, err)
	require.NoError(t, wire.Codec{}.Unmarshal(mem.BufferSlice{mem.SliceBuffer(body)}, answer))
	require.EqualValues(t, 3, answer.PartialSuccess().RejectedSpans())
}

func TestABadConfigurationIsNamed(t *testing.T) {
	config := NewFactory().CreateDefaultConfig().(*Config)
	require.ErrorContains(t, config.Validate(), "endpoint")
	config.QueueCompression = "zip"
	require.ErrorContains(t, config.Validate(), "queue_compression")
}

func TestAQueueInMemoryIsTheStockExporters(t *testing.T) {
	made, err := NewFactory().CreateTraces(context.Background(), exportertest.NewNopSettings(id.Type()), NewFactory().CreateDefaultConfig())
	require.NoError(t, err)
	_, ours := made.(unchanged)
	require.False(t, ours)
}
