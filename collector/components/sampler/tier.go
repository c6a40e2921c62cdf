package sampler

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/tailsamplingprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/tailsamplingprocessor/cache"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"

	"otel-distro.example/components/delivery"
)

// How long a kept trace waits before it is offered again to queues that were all full.
const firstPause, longestPause = 100 * time.Millisecond, 2 * time.Second

var errClosing = errors.New("the partition goes elsewhere, and its undecided traces with it")

// claim is what a message has in a trace that is not decided and queued yet.
type claim struct {
	receipt *delivery.Receipt
	spans   int
}

// tier samples the traces of one partition for as long as it is ours. What is undecided then is forgotten: it is still in
// Kafka, and the next owner reads it again, whole.
type tier struct {
	of        *sampler
	inner     processor.Traces // contrib's, of this partition alone
	partition *delivery.Partition
	forget    sync.Once

	mu     sync.Mutex
	claims map[pcommon.TraceID][]claim // in the order in which contrib's processor gets them
}

// tier is the partition's, made at its first batch.
func (s *sampler) tier(partition *delivery.Partition) (*tier, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found, ok := s.tiers[partition]; ok {
		return found, nil
	}
	made := &tier{of: s, partition: partition, claims: map[pcommon.TraceID][]claim{}}
	exit, err := consumer.NewTraces(made.offer)
	if err != nil {
		return nil, err
	}
	config := s.config
	config.DropPendingTracesOnShutdown = true // they are still in Kafka
	config.BlockOnOverflow = true             // forgetting the oldest trace would hold its message for ever
	made.inner, err = s.processor(context.Background(), config, exit, tailsamplingprocessor.WithNonSampledHooks(made.decidedAway))
	if err != nil {
		return nil, err
	}
	if err := made.inner.Start(context.Background(), s.host); err != nil {
		return nil, err
	}
	s.tiers[partition] = made
	partition.OnRecall(s.recall)
	partition.AtEnd(made.end)
	return made, nil
}

// recall learns an earlier owner's decision.
func (s *sampler) recall(id pcommon.TraceID, kept bool) {
	if kept {
		s.kept.Put(id, cache.DecisionMetadata{})
	} else {
		s.away.Put(id, cache.DecisionMetadata{})
	}
}

// take hands a batch to contrib's processor, once its spans are claimed for their message.
func (t *tier) take(ctx context.Context, td ptrace.Traces, receipt *delivery.Receipt) error {
	if t.closing() {
		return errClosing
	}
	receipt.Account = t.of.account
	t.mu.Lock() // no decision between the look into the cache and the claim
	late := t.of.dropLate(td)
	for id, count := range spansOf(td) {
		receipt.Hold()
		t.claims[id] = append(t.claims[id], claim{receipt, count})
	}
	t.mu.Unlock()
	t.count("sampled_away", "late", late)
	if td.ResourceSpans().Len() == 0 {
		return nil
	}
	return t.inner.ConsumeTraces(ctx, td)
}

// offer is where contrib's processor hands a kept trace on: to a backend's queue, or nowhere once the partition goes
// elsewhere. While all queues are full nothing is decided and, soon, nothing more is read: the backlog stays in Kafka.
func (t *tier) offer(ctx context.Context, td ptrace.Traces) error {
	for pause := firstPause; t.ready(); pause = min(2*pause, longestPause) {
		err := t.of.next.ConsumeTraces(delivery.WithReturn(ctx), td)
		if err != nil && consumererror.IsPermanent(err) {
			err = t.of.next.ConsumeTraces(ctx, td) // without a way back: a counted drop
			t.queued(td)
			return err
		}
		if err == nil {
			t.queued(td)
			return nil
		}
		select {
		case <-t.partition.Closing():
		case <-time.After(pause):
		}
	}
	return errClosing
}

// queued settles the spans of kept traces, in the order in which they came.
func (t *tier) queued(td ptrace.Traces) {
	for id, spans := range spansOf(td) {
		t.count("kept", "", spans)
		release(t.settled(id, spans), true)
	}
}

// settled takes the claims of that many spans out; of a message with several resources it may be a part.
func (t *tier) settled(id pcommon.TraceID, spans int) []claim {
	t.mu.Lock()
	defer t.mu.Unlock()
	waiting, done := t.claims[id], 0
	for ; done < len(waiting) && waiting[done].spans <= spans; done++ {
		spans -= waiting[done].spans
	}
	if done == len(waiting) {
		delete(t.claims, id)
	} else {
		waiting[done].spans -= spans
		t.claims[id] = waiting[done:]
	}
	return waiting[:done]
}

// decidedAway settles everything of a trace: what of it has not reached contrib's processor yet is dropped there.
func (t *tier) decidedAway(_ context.Context, id pcommon.TraceID, _ *tailsamplingprocessor.TraceData) {
	if !t.ready() {
		return
	}
	t.mu.Lock()
	t.of.away.Put(id, cache.DecisionMetadata{})
	settled := t.claims[id]
	delete(t.claims, id)
	t.mu.Unlock()
	spans := 0
	for _, each := range settled {
		spans += each.spans
	}
	t.count("sampled_away", "", spans)
	release(settled, false)
}

// count is for spans that leave; they came into the sampler's keeping at this moment, before it they were Kafka's.
func (t *tier) count(stage, reason string, spans int) {
	t.of.count("received", "", spans)
	if stage != "kept" { // `isolate` counts it, by its setting `leaves`
		t.of.count(stage, reason, spans)
	}
}

// end forgets what is undecided; called once nothing more is handed over.
func (t *tier) end() {
	t.forget.Do(func() {
		t.partition.Close()
		t.of.mu.Lock()
		delete(t.of.tiers, t.partition)
		t.of.mu.Unlock()
		_ = t.inner.Shutdown(context.Background()) // contrib's gives none
	})
}

// ready waits while nothing can be committed, and tells whether the partition is still ours.
func (t *tier) ready() bool {
	for t.partition.Held() {
		select {
		case <-t.partition.Closing():
			return false
		case <-time.After(firstPause):
		}
	}
	return !t.closing()
}

func (t *tier) closing() bool {
	select {
	case <-t.partition.Closing():
		return true
	default:
		return false
	}
}

func release(settled []claim, kept bool) {
	for _, each := range settled {
		each.receipt.Release(kept)
	}
}
