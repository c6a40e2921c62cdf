package kafkatraces

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"otel-distro.example/components/ledger"
)

// A stop waits for what is on its way to any backend, and no longer than it may.
func TestAStopWaitsForWhatIsOnItsWay(t *testing.T) {
	book := ledger.NewBook()
	entry := func(backend, stage string, in bool) ledger.Entry {
		return ledger.Entry{Signal: "traces", Backend: backend, Stage: stage, In: in}
	}
	book.Add(entry("tempo", "received", true), 3)
	book.Add(entry("jaeger", "received", true), 3)
	book.Add(entry("jaeger", "delivered", false), 5)
	require.EqualValues(t, 3, onTheWay(book))
	drain(context.Background(), book, time.Millisecond)
	require.EqualValues(t, 3, onTheWay(book), "the time was up")
	go book.Add(entry("tempo", "parked", false), 3)
	drain(context.Background(), book, time.Minute)
	require.Zero(t, onTheWay(book))
	drain(context.Background(), nil, time.Minute)
}
