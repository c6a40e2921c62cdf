package isolate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pipeline"
	"go.uber.org/zap"

	"otel-distro.example/components/delivery"
	"otel-distro.example/components/ledger"
)

// door is the entrance of one pipeline.
type door[T any] struct {
	consume func(context.Context, T) error
	mutates bool
}

type branch[T any] struct {
	door[T]
	id      string // traces/tempo
	backend string // tempo
	account bool   // in the ledger
}

// fan is what the connectors of the three signals share.
type fan[T any] struct {
	backends  []branch[T] // their acceptance is the acknowledgement
	followers []branch[T]
	clone     func(T) T
	signal    string
	leaves    string
	book      func() *ledger.Book
	counters  counters
	log       *zap.Logger
	ready     atomic.Bool
}

func newFan[T any](set connector.Settings, config *Config, signal pipeline.Signal, ids []pipeline.ID, open func(pipeline.ID) (door[T], error)) (*fan[T], error) {
	built := &fan[T]{signal: signal.String(), leaves: config.Leaves, book: func() *ledger.Book { return nil }, log: set.Logger}
	for _, follower := range config.Followers {
		if follower.Signal() == signal && !slices.Contains(ids, follower) {
			return nil, fmt.Errorf("follower %s has no receiver %s", follower, set.ID)
		}
	}
	// In the order of their names: the same configuration asks its branches in the same order.
	slices.SortFunc(ids, func(a, b pipeline.ID) int { return strings.Compare(a.String(), b.String()) })
	for _, id := range ids {
		entrance, err := open(id)
		if err != nil {
			return nil, err
		}
		entrance.mutates = entrance.mutates && !slices.Contains(config.Stored, id)
		follows := slices.Contains(config.Followers, id)
		found := branch[T]{entrance, id.String(), id.Name(), !follows || slices.Contains(config.Accounts, id)}
		if follows {
			built.followers = append(built.followers, found)
		} else {
			built.backends = append(built.backends, found)
		}
	}
	if len(built.backends) == 0 {
		return nil, errors.New("every pipeline behind the connector is a follower: there is no backend to accept anything")
	}
	counted, err := newCounters(set, signal.String())
	built.counters = counted
	return built, err
}

// Start finds the ledger, and makes every series of the drops exist at 0, so that an alert sees the first drop.
func (f *fan[T]) Start(ctx context.Context, host component.Host) error {
	f.book = ledger.Find(host)
	for _, each := range append(slices.Clone(f.backends), f.followers...) {
		for _, reason := range reasons {
			f.counters.drop(ctx, each.id, reason, 0)
		}
	}
	f.counters.oversized(ctx, 0, 0)
	f.counters.refuse(ctx, 0)
	f.ready.Store(true)
	return nil
}

// Shutdown has nothing to end: nothing is held here.
func (f *fan[T]) Shutdown(context.Context) error { return nil }

// Capabilities: an oversized span is changed in place.
func (f *fan[T]) Capabilities() consumer.Capabilities {
	return consumer.Capabilities{MutatesData: true}
}

// deliver hands a batch of total items, of which some were truncated or dropped for their size, to every branch.
func (f *fan[T]) deliver(ctx context.Context, data T, total, truncated, oversized int) error {
	sent := total - oversized
	refusals := make([]error, len(f.backends))
	accepted := sent == 0 // nothing is left: asking again would bring the same
	if sent > 0 {
		for i, each := range f.backends {
			refusals[i] = each.consume(ctx, f.portion(each, i, data))
			if refusals[i] == nil {
				accepted = true
				// Now, not after the others: a kill between a queue's write and this line leaves the sheet unbalanced.
				f.received(each, f.taken(ctx, each, total, oversized))
			}
		}
	}
	if !accepted && (f.leaves == "" || delivery.Returns(ctx)) {
		f.counters.refuse(ctx, total)
		return joined(refusals)
	}
	f.counters.oversized(ctx, truncated, oversized)
	f.account(ctx, refusals, total, oversized)
	if !accepted {
		return joined(refusals) // this sampler does not come again: it logs the error and forgets, so it is a counted drop
	}
	if sent > 0 {
		f.follow(ctx, data, sent)
	}
	return nil
}

// portion is what a branch may have: the batch itself where nobody else will look at it again, else a copy if it writes.
func (f *fan[T]) portion(each branch[T], index int, data T) T {
	last := index == len(f.backends)-1 && len(f.followers) == 0
	if !each.mutates || (last && f.allMutate()) {
		return data
	}
	return f.clone(data)
}

func (f *fan[T]) allMutate() bool {
	return !slices.ContainsFunc(f.backends, func(each branch[T]) bool { return !each.mutates })
}

// taken is what came into a branch's keeping: a sampler behind Kafka keeps nothing before its decision, and counts it then.
func (f *fan[T]) taken(ctx context.Context, each branch[T], total, oversized int) int {
	if receipt := delivery.From(ctx); receipt != nil && receipt.Account == each.backend {
		return oversized
	}
	return total
}

func (f *fan[T]) received(each branch[T], items int) {
	f.book().Add(ledger.Entry{Signal: f.signal, Backend: each.backend, Stage: "received", In: true}, items)
}

// account counts what an acknowledged batch left behind, and the branches that did not take it.
func (f *fan[T]) account(ctx context.Context, refusals []error, total, oversized int) {
	book := f.book()
	for i, each := range f.backends {
		if refusals[i] == nil && oversized == total {
			f.received(each, total)
		}
		book.Add(ledger.Entry{Signal: f.signal, Backend: each.backend, Stage: "dropped", Reason: reasonOversized}, oversized)
		if refusals[i] == nil {
			continue
		}
		f.received(each, total)
		reason := reasonOf(refusals[i])
		f.counters.drop(ctx, each.id, reason, total-oversized)
		book.Add(ledger.Entry{Signal: f.signal, Backend: each.backend, Stage: "dropped", Reason: reason}, total-oversized)
		f.log.Debug("dropped for one branch", zap.String("branch", each.id), zap.Error(refusals[i]))
	}
	if f.leaves != "" {
		book.Add(ledger.Entry{Signal: f.signal, Backend: f.leaves, Stage: "kept"}, total)
	}
}

// follow feeds the followers; what an earlier owner of its partition has read, it has counted.
func (f *fan[T]) follow(ctx context.Context, data T, items int) {
	if receipt := delivery.From(ctx); receipt != nil && receipt.Again {
		return
	}
	for _, each := range f.followers {
		portion := data
		if each.mutates {
			portion = f.clone(data)
		}
		err := each.consume(ctx, portion)
		if each.account {
			f.received(each, items)
		}
		if err == nil {
			continue
		}
		reason := reasonOf(err)
		f.counters.drop(ctx, each.id, reason, items)
		if each.account {
			f.book().Add(ledger.Entry{Signal: f.signal, Backend: each.backend, Stage: "dropped", Reason: reason}, items)
		}
	}
}

// joined is permanent only when every branch's refusal is: else it is worth asking again.
func joined(refusals []error) error {
	all := errors.Join(refusals...)
	for _, refusal := range refusals {
		if !consumererror.IsPermanent(refusal) {
			// The text only: a permanent error in the chain would make the whole permanent for the receiver.
			return fmt.Errorf("every branch refused: %s", strings.ReplaceAll(all.Error(), "\n", "; "))
		}
	}
	return consumererror.NewPermanent(all)
}
