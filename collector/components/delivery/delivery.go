// Package delivery tells whoever keeps a batch beyond its call which message it came from, so that a receiver commits the
// message's offset only behind what was decided and queued.
package delivery

import (
	"context"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Partition is one partition for as long as it is ours; it comes back as another Partition.
type Partition struct {
	closing chan struct{}
	once    sync.Once
	held    atomic.Bool
	mu      sync.Mutex
	ends    []func()
	recall  func(id pcommon.TraceID, kept bool)
}

// NewPartition was assigned just now.
func NewPartition() *Partition { return &Partition{closing: make(chan struct{})} }

// Closing is closed when the partition goes elsewhere: what is not queued by then is the next owner's.
func (p *Partition) Closing() <-chan struct{} { return p.closing }

// Close says that the partition goes elsewhere.
func (p *Partition) Close() { p.once.Do(func() { close(p.closing) }) }

// Hold says that nothing can be committed for now: what is queued meanwhile comes twice, should the partition go elsewhere.
func (p *Partition) Hold(held bool) { p.held.Store(held) }

// Held tells whether to wait with what would have to be committed.
func (p *Partition) Held() bool { return p.held.Load() }

// AtEnd leaves a function for End.
func (p *Partition) AtEnd(end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ends = append(p.ends, end)
}

// End is for the receiver, once it hands nothing over any more: afterwards nobody settles anything.
func (p *Partition) End() {
	p.mu.Lock()
	ends := p.ends
	p.ends = nil
	p.mu.Unlock()
	for _, end := range ends {
		end()
	}
}

// OnRecall leaves a function that hears how an earlier owner has decided.
func (p *Partition) OnRecall(recall func(id pcommon.TraceID, kept bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recall = recall
}

// Recall passes on that an earlier owner has kept a trace, or sampled it away: its late spans follow.
func (p *Partition) Recall(id pcommon.TraceID, kept bool) {
	p.mu.Lock()
	recall := p.recall
	p.mu.Unlock()
	if recall != nil {
		recall(id, kept)
	}
}

// Receipt is a message's: it is settled when all who hold it have released it.
type Receipt struct {
	Partition *Partition
	// Again: another owner has read the message before, and has counted it in its span metrics.
	Again bool
	// Account of the ledger that counts the message's spans when they are decided; empty where nobody has kept any.
	Account string

	holds  atomic.Int32
	kept   atomic.Bool
	settle func(kept bool)
}

// NewReceipt is held once, by its maker; settle is called when nobody holds it any more.
func NewReceipt(partition *Partition, again bool, settle func(kept bool)) *Receipt {
	made := &Receipt{Partition: partition, Again: again, settle: settle}
	made.holds.Store(1)
	return made
}

// Hold keeps the message from being settled.
func (r *Receipt) Hold() { r.holds.Add(1) }

// Release ends one hold; kept says that spans were queued, and not sampled away.
func (r *Receipt) Release(kept bool) {
	if kept {
		r.kept.Store(true)
	}
	if r.holds.Add(-1) == 0 {
		r.settle(r.kept.Load())
	}
}

type receiptKey struct{}

// With puts a batch's receipt into its context.
func With(ctx context.Context, receipt *Receipt) context.Context {
	return context.WithValue(ctx, receiptKey{}, receipt)
}

// From is the receipt of a batch, nil for one that did not come from a message.
func From(ctx context.Context) *Receipt {
	receipt, _ := ctx.Value(receiptKey{}).(*Receipt)
	return receipt
}

type returnKey struct{}

// WithReturn says that a batch comes again when all refuse it.
func WithReturn(ctx context.Context) context.Context {
	return context.WithValue(ctx, returnKey{}, true)
}

// Returns tells whether WithReturn was said.
func Returns(ctx context.Context) bool {
	returns, _ := ctx.Value(returnKey{}).(bool)
	return returns
}
