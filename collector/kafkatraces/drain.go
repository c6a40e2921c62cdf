package kafkatraces

import (
	"context"
	"time"

	"otel-distro.example/components/ledger"
)

const drainPause = 50 * time.Millisecond

// drain waits until nothing is on its way to a backend any more, by the ledger, or until the time is up.
func drain(ctx context.Context, book *ledger.Book, limit time.Duration) {
	end := time.Now().Add(limit)
	for onTheWay(book) > 0 && ctx.Err() == nil && time.Now().Before(end) {
		time.Sleep(drainPause)
	}
}

// onTheWay is what came into the keeping of an account and has not left it, over all accounts.
func onTheWay(book *ledger.Book) int64 {
	if book == nil {
		return 0
	}
	held := map[[2]string]int64{}
	book.Each(func(entry ledger.Entry, value int64) {
		if !entry.In {
			value = -value
		}
		held[[2]string{entry.Signal, entry.Backend}] += value
	})
	sum := int64(0)
	for _, each := range held {
		sum += max(each, 0) // an account that delivered twice makes up for no other
	}
	return sum
}
