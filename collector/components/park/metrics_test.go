package park

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// points are 6, of every kind, and a metric that has none.
func points() pmetricotlp.ExportRequest {
	made := pmetric.NewMetrics()
	list := made.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics()
	gauge := list.AppendEmpty().SetEmptyGauge().DataPoints()
	gauge.AppendEmpty().SetIntValue(1)
	gauge.AppendEmpty().SetIntValue(2)
	list.AppendEmpty().SetEmptySum().DataPoints().AppendEmpty().SetDoubleValue(1)
	list.AppendEmpty().SetEmptyHistogram().DataPoints().AppendEmpty().SetCount(1)
	list.AppendEmpty().SetEmptyExponentialHistogram().DataPoints().AppendEmpty().SetCount(1)
	list.AppendEmpty().SetEmptySummary().DataPoints().AppendEmpty().SetCount(1)
	list.AppendEmpty().SetName("without points")
	return pmetricotlp.NewExportRequestFromMetrics(made)
}

func TestPointsAreCountedAlikeInMessagesAndInBytes(t *testing.T) {
	body, err := points().MarshalProto()
	require.NoError(t, err)
	require.Equal(t, 6, countBody(metrics, body))
	seen := 0
	connection, err := grpc.NewClient("127.0.0.1:1", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(func(_ context.Context, _ string, request, _ any, _ *grpc.ClientConn, _ grpc.UnaryInvoker, _ ...grpc.CallOption) error {
			names := levels[metrics]
			count, ok := countLevel(reflect.ValueOf(request), names[:], true)
			require.True(t, ok, "the collector's message is not what it was: points are counted by marshalling it again")
			seen = count
			return nil
		}))
	require.NoError(t, err)
	defer func() { require.NoError(t, connection.Close()) }()
	_, err = pmetricotlp.NewGRPCClient(connection).Export(context.Background(), points())
	require.NoError(t, err)
	require.Equal(t, 6, seen)
}

type metricsBackend struct {
	pmetricotlp.UnimplementedGRPCServer
	answer error
}

func (b *metricsBackend) Export(context.Context, pmetricotlp.ExportRequest) (pmetricotlp.ExportResponse, error) {
	response := pmetricotlp.NewExportResponse()
	response.PartialSuccess().SetRejectedDataPoints(2)
	return response, b.answer
}

func TestPointsThatAreRefusedForGoodAreCountedByCodeAndNotParked(t *testing.T) {
	server, at, config := &metricsBackend{answer: status.Error(codes.InvalidArgument, "out of order")}, newHost(t), quick()
	extension := parked(t, at, config)
	options, err := extension.GetGRPCClientOptions(context.Background())
	require.NoError(t, err)
	connection, err := grpc.NewClient(serve(t, func(to *grpc.Server) { pmetricotlp.RegisterGRPCServer(to, server) }),
		append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	sender := pmetricotlp.NewGRPCClient(connection)
	_, err = sender.Export(context.Background(), points())
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	left, err := os.ReadDir(config.Directory)
	require.NoError(t, err)
	require.Empty(t, left)
	server.answer = nil
	_, err = sender.Export(context.Background(), points())
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"tempo dropped InvalidArgument": 6, "tempo delivered ": 4, "tempo rejected partial_success": 2}, at.sheet())
}

func TestWithoutRoomNothingIsParkedAndAllIsCountedByCode(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer server.Close()
	at := newHost(t)
	wrap, err := parked(t, at, &Config{RetryInterval: 1, MaxAge: 1}).GetHTTPRoundTripper(context.Background())
	require.NoError(t, err)
	through, err := wrap(context.Background(), http.DefaultTransport)
	require.NoError(t, err)
	body, err := points().MarshalProto()
	require.NoError(t, err)
	request, err := http.NewRequest(http.MethodPost, server.URL+"/api/v1/otlp/v1/metrics", io.NopCloser(bytes.NewReader(body)))
	require.NoError(t, err)
	answer, err := through.RoundTrip(request)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusForbidden, answer.StatusCode)
	require.Equal(t, map[string]int64{"tempo dropped HTTP 403": 6}, at.sheet())
}
