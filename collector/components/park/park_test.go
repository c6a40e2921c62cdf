package park

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"otel-distro.example/components/ledger"
	"otel-distro.example/components/wire"
)

// backend is an OTLP/gRPC server that answers what it is told to, and keeps what it accepted.
type backend struct {
	ptraceotlp.UnimplementedGRPCServer
	mu       sync.Mutex
	answer   error
	rejected int64
	spans    []string
	tokens   []string
}

func (b *backend) Export(ctx context.Context, request ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	headers, _ := metadata.FromIncomingContext(ctx)
	b.tokens = append(b.tokens, headers.Get("authorization")...)
	response := ptraceotlp.NewExportResponse()
	if b.answer != nil {
		return response, b.answer
	}
	if b.rejected > 0 {
		response.PartialSuccess().SetRejectedSpans(b.rejected)
	}
	for _, span := range request.Traces().ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
		b.spans = append(b.spans, span.Name())
	}
	return response, nil
}

func (b *backend) say(answer error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = answer
}

func (b *backend) accepted() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.spans...)
}

func (b *backend) address(t *testing.T) string {
	return serve(t, func(to *grpc.Server) { ptraceotlp.RegisterGRPCServer(to, b) })
}

func serve(t *testing.T, register func(*grpc.Server)) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	register(server)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

type host struct{ ledger *ledger.Extension }

func (h host) GetExtensions() map[component.ID]component.Component {
	return map[component.ID]component.Component{component.NewID(ledger.Type): h.ledger}
}

func (h host) sheet() map[string]int64 {
	found := map[string]int64{}
	h.ledger.Book().Each(func(entry ledger.Entry, value int64) { found[entry.Backend+" "+entry.Stage+" "+entry.Reason] = value })
	return found
}

func newHost(t *testing.T) host {
	factory := ledger.NewFactory()
	made, err := factory.Create(context.Background(), extensiontest.NewNopSettings(ledger.Type), factory.CreateDefaultConfig())
	require.NoError(t, err)
	require.NoError(t, made.Start(context.Background(), componenttest.NewNopHost()))
	return host{made.(*ledger.Extension)}
}

func parked(t *testing.T, at host, config *Config) *Extension {
	if config.Directory == "" && config.MaxBytes > 0 {
		config.Directory = filepath.Join(t.TempDir(), "tempo")
	}
	require.NoError(t, config.Validate())
	made := newExtension(config, "tempo", componenttest.NewNopTelemetrySettings())
	require.NoError(t, made.Start(context.Background(), at))
	t.Cleanup(func() { require.NoError(t, made.Shutdown(context.Background())) })
	return made
}

func quick() *Config {
	return &Config{MaxBytes: 1 << 20, RetryInterval: 10 * time.Millisecond, MaxAge: time.Hour}
}

// byHand makes no round of its own: the test says when.
func byHand() *Config {
	config := quick()
	config.RetryInterval = time.Hour
	return config
}

func client(t *testing.T, extension *Extension, address string) ptraceotlp.GRPCClient {
	return ptraceotlp.NewGRPCClient(connected(t, extension, address))
}

func connected(t *testing.T, extension *Extension, address string) *grpc.ClientConn {
	options, err := extension.GetGRPCClientOptions(context.Background())
	require.NoError(t, err)
	connection, err := grpc.NewClient(address, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func traces(names ...string) ptraceotlp.ExportRequest {
	made := ptrace.NewTraces()
	spans := made.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
	for _, name := range names {
		spans.AppendEmpty().SetName(name)
	}
	return ptraceotlp.NewExportRequestFromTraces(made)
}

func TestARefusalForGoodIsParkedAndDeliveredWhenTheBackendTakesItAgain(t *testing.T) {
	for _, code := range []codes.Code{codes.Unauthenticated, codes.PermissionDenied, codes.ResourceExhausted, codes.InvalidArgument,
		codes.Internal, codes.Unknown, codes.Unimplemented, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition} {
		t.Run(code.String(), func(t *testing.T) {
			server, at := &backend{answer: status.Error(code, "no")}, newHost(t)
			sender := client(t, parked(t, at, quick()), server.address(t))
			ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer t")
			_, err := sender.Export(ctx, traces("a", "b"))
			require.NoError(t, err, "the exporter may forget it")
			require.Equal(t, map[string]int64{"tempo parked " + code.String(): 2}, at.sheet())
			server.say(nil)
			require.Eventually(t, func() bool { return at.sheet()["tempo delivered "] == 2 }, time.Minute, 5*time.Millisecond)
			require.Equal(t, []string{"a", "b"}, server.accepted())
			require.Equal(t, int64(2), at.sheet()["tempo unparked "+code.String()])
			require.Equal(t, "Bearer t", server.tokens[len(server.tokens)-1], "offered again with credentials")
		})
	}
}

func TestARetryableRefusalIsTheExportersBusiness(t *testing.T) {
	throttled, err := status.New(codes.ResourceExhausted, "slow down").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	require.NoError(t, err)
	for _, answer := range []error{status.Error(codes.Unavailable, "restarting"), throttled.Err()} {
		server, at := &backend{answer: answer}, newHost(t)
		_, err := client(t, parked(t, at, quick()), server.address(t)).Export(context.Background(), traces("a"))
		require.Equal(t, status.Code(answer), status.Code(err))
		require.Empty(t, at.sheet())
	}
}

func TestWhatIsParkedOutlivesTheProcess(t *testing.T) {
	server, config := &backend{answer: status.Error(codes.Unauthenticated, "expired")}, byHand()
	config.Directory = t.TempDir()
	address := server.address(t)
	first := parked(t, newHost(t), config)
	_, err := client(t, first, address).Export(context.Background(), traces("old"))
	require.NoError(t, err)
	require.NoError(t, first.Shutdown(context.Background()))
	server.say(nil)
	second := parked(t, newHost(t), config)
	_, err = client(t, second, address).Export(context.Background(), traces("new"))
	require.NoError(t, err)
	second.round(context.Background())
	require.Equal(t, []string{"new", "old"}, server.accepted())
}

func TestPartialSuccessIsCountedAsRejected(t *testing.T) {
	server, at := &backend{rejected: 1}, newHost(t)
	_, err := client(t, parked(t, at, quick()), server.address(t)).Export(context.Background(), traces("a", "b", "c"))
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"tempo delivered ": 2, "tempo rejected partial_success": 1}, at.sheet())
}

func TestWhatIsBytesAlreadyIsCountedAndParkedLikeAMessage(t *testing.T) {
	server, at := &backend{rejected: 1}, newHost(t)
	connection := connected(t, parked(t, at, quick()), server.address(t))
	body, err := traces("a", "b", "c").MarshalProto()
	require.NoError(t, err)
	send := func() error {
		return connection.Invoke(context.Background(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
			&wire.Message{Pieces: [][]byte{body}, Count: 3}, ptraceotlp.NewExportResponse(), grpc.ForceCodecV2(wire.Codec{}))
	}
	require.NoError(t, send())
	server.say(status.Error(codes.Unauthenticated, "expired"))
	require.NoError(t, send(), "the exporter may forget it")
	require.Equal(t, map[string]int64{"tempo delivered ": 2, "tempo rejected partial_success": 1, "tempo parked Unauthenticated": 3}, at.sheet())
	server.say(nil)
	require.Eventually(t, func() bool { return len(server.accepted()) == 6 }, time.Minute, 5*time.Millisecond)
}

func TestAFullLotLeavesTheRefusalToTheExporterAndCountsItByCode(t *testing.T) {
	server, at, config := &backend{answer: status.Error(codes.InvalidArgument, "no")}, newHost(t), quick()
	config.MaxBytes = 10
	_, err := client(t, parked(t, at, config), server.address(t)).Export(context.Background(), traces("a"))
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.Equal(t, map[string]int64{"tempo dropped InvalidArgument": 1}, at.sheet())
	left, err := os.ReadDir(config.Directory)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestAPoisonedBatchIsDiscardedAtItsAgeAndHoldsNobodyUp(t *testing.T) {
	server, at, config := &backend{answer: status.Error(codes.InvalidArgument, "no")}, newHost(t), byHand()
	config.MaxAge = time.Nanosecond
	extension := parked(t, at, config)
	_, err := client(t, extension, server.address(t)).Export(context.Background(), traces("a"))
	require.NoError(t, err)
	extension.round(context.Background())
	require.Equal(t, map[string]int64{"tempo parked InvalidArgument": 1, "tempo unparked InvalidArgument": 1,
		"tempo discarded InvalidArgument": 1}, at.sheet())
}

func TestABatchFromAClockThatWasAheadAgesAllTheSame(t *testing.T) {
	found, err := openLot(t.TempDir(), 1000)
	require.NoError(t, err)
	require.NoError(t, found.put(ticket{Since: found.now()}, []byte("x")))
	name, about, _, err := found.first()
	require.NoError(t, err)
	about.Since = about.Since.Add(48 * time.Hour) // written by a clock that was two days ahead
	time.Sleep(time.Millisecond)
	require.Positive(t, found.age(name, about))
}

func TestABrokenFileIsSetAside(t *testing.T) {
	config := quick()
	config.Directory = t.TempDir()
	for name, content := range map[string]string{"1.otlp": "{not json\nxx", "2.otlp": "", "3.otlp.part": "half"} {
		require.NoError(t, os.WriteFile(filepath.Join(config.Directory, name), []byte(content), 0o600))
	}
	server, extension := &backend{}, parked(t, newHost(t), config)
	_, err := client(t, extension, server.address(t)).Export(context.Background(), traces("a"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { count, _ := extension.lot.state(); return count == 0 }, time.Minute, 5*time.Millisecond)
	left, err := filepath.Glob(filepath.Join(config.Directory, "*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(config.Directory, "1.otlp.broken"), filepath.Join(config.Directory, "2.otlp.broken")}, left)
	_, size := extension.lot.state()
	require.Zero(t, size)
}

// A collector that has run out of descriptors opens no file, and none of them is broken.
func TestAFileThatCannotBeReadNowIsOfferedLater(t *testing.T) {
	server, at, config := &backend{answer: status.Error(codes.Unauthenticated, "expired")}, newHost(t), byHand()
	extension := parked(t, at, config)
	sender := client(t, extension, server.address(t))
	_, err := sender.Export(context.Background(), traces("kept"))
	require.NoError(t, err)
	name, _, _, err := extension.lot.first()
	require.NoError(t, err)
	path := filepath.Join(config.Directory, name)
	require.NoError(t, os.Rename(path, path+".elsewhere"))
	require.NoError(t, os.Mkdir(path, 0o700)) // in the place of a file that cannot be read: root may read any
	server.say(nil)
	_, err = sender.Export(context.Background(), traces("later"))
	require.NoError(t, err)
	extension.round(context.Background())
	require.Equal(t, []string{"later"}, server.accepted())
	require.NoError(t, os.Remove(path), "it is where it was")
	require.NoError(t, os.Rename(path+".elsewhere", path))
	extension.round(context.Background())
	require.Equal(t, []string{"later", "kept"}, server.accepted())
	require.Equal(t, int64(2), at.sheet()["tempo delivered "])
}

func TestHTTPRefusalsAreParkedAndOfferedAgainAsTheyWere(t *testing.T) {
	var mu sync.Mutex
	code, bodies, tokens := http.StatusUnauthorized, []string{}, []string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		if code == http.StatusOK {
			bodies, tokens = append(bodies, r.URL.Path+" "+string(body)), append(tokens, r.Header.Get("Authorization"))
		}
		w.WriteHeader(code)
	}))
	defer server.Close()
	at := newHost(t)
	extension := parked(t, at, byHand())
	wrap, err := extension.GetHTTPRoundTripper(context.Background())
	require.NoError(t, err)
	through, err := wrap(context.Background(), http.DefaultTransport)
	require.NoError(t, err)
	body, err := traces("a", "b").MarshalProto()
	require.NoError(t, err)
	post := func(token string) int {
		request, err := http.NewRequest(http.MethodPost, server.URL+"/otlp/v1/traces", io.NopCloser(bytes.NewReader(body)))
		require.NoError(t, err)
		request.Header.Set("Authorization", token)
		answer, err := through.RoundTrip(request)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		return answer.StatusCode
	}
	require.Equal(t, http.StatusOK, post("old"))
	require.Equal(t, map[string]int64{"tempo parked HTTP 401": 2}, at.sheet())
	mu.Lock()
	code = http.StatusServiceUnavailable
	mu.Unlock()
	require.Equal(t, http.StatusServiceUnavailable, post("fresh"))
	mu.Lock()
	code = http.StatusOK
	mu.Unlock()
	extension.round(context.Background())
	require.Equal(t, int64(2), at.sheet()["tempo delivered "])
	require.Equal(t, []string{"/otlp/v1/traces " + string(body)}, bodies)
	require.Equal(t, []string{"fresh"}, tokens)
}

func TestItemsAreCountedAlikeInMessagesAndInBytes(t *testing.T) {
	ld := plog.NewLogs()
	for range 3 {
		records := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
		records.AppendEmpty().Body().SetStr("x")
		records.AppendEmpty()
	}
	body, err := plogotlp.NewExportRequestFromLogs(ld).MarshalProto()
	require.NoError(t, err)
	require.Equal(t, 6, countBody("logs", body))
	require.Zero(t, countBody("logs", []byte{0xff, 0x01}))
	span, err := traces("a", "b", "c").MarshalProto()
	require.NoError(t, err)
	require.Equal(t, 3, countBody("traces", span))
}

func TestABadConfigurationIsNamed(t *testing.T) {
	for problem, config := range map[string]*Config{
		"directory":      {MaxBytes: 1, RetryInterval: 1, MaxAge: 1},
		"max_bytes":      {Directory: "x", MaxBytes: -1, RetryInterval: 1, MaxAge: 1},
		"retry_interval": {Directory: "x", MaxBytes: 1, MaxAge: 1},
		"max_age":        {Directory: "x", MaxBytes: 1, RetryInterval: 1},
	} {
		require.ErrorContains(t, config.Validate(), problem)
	}
}
