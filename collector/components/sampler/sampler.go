// Package sampler is the tail_sampling processor of contrib with an account in the ledger: spans that were sampled away on
// purpose are counted, and so are told from spans that were lost. Its type and configuration are those of contrib's.
// Behind our Kafka receiver each partition has a sampler of its own, which acknowledges what is decided and queued.
package sampler

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/tailsamplingprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/tailsamplingprocessor/cache"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"

	"otel-distro.example/components/delivery"
	"otel-distro.example/components/ledger"
)

// Traces that are remembered, kept or not, where the configuration does not say how many.
const rememberedTraces = 100_000

// NewFactory takes the place of tailsamplingprocessor.NewFactory.
func NewFactory() processor.Factory {
	upstream := tailsamplingprocessor.NewFactory()
	return processor.NewFactory(upstream.Type(),
		func() component.Config {
			return &Config{*upstream.CreateDefaultConfig().(*tailsamplingprocessor.Config)}
		},
		processor.WithTraces(create, upstream.TracesStability()))
}

// sampler stands around contrib's processor, and around one more for each partition that spans come from.
type sampler struct {
	processor.Traces
	set        processor.Settings
	config     tailsamplingprocessor.Config
	next       consumer.Traces
	account    string
	kept, away cache.Cache
	book       func() *ledger.Book
	host       component.Host

	mu    sync.Mutex
	tiers map[*delivery.Partition]*tier
}

func create(ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Traces) (processor.Traces, error) {
	given := cfg.(*Config)
	kept, first := remembered(given.DecisionCache.SampledCacheSize)
	away, second := remembered(given.DecisionCache.NonSampledCacheSize)
	if err := errors.Join(first, second); err != nil {
		return nil, err
	}
	made := &sampler{set: set, config: given.Config, next: next, account: set.ID.Name(), kept: kept, away: away,
		book: func() *ledger.Book { return nil }, tiers: map[*delivery.Partition]*tier{}}
	if made.account == "" {
		made.account = "sampler"
	}
	var err error
	made.Traces, err = made.processor(ctx, made.config, next, tailsamplingprocessor.WithNonSampledHooks(made.decidedAway))
	return made, err
}

func remembered(size int) (cache.Cache, error) {
	if size <= 0 {
		size = rememberedTraces
	}
	return cache.NewLRUDecisionCache(size)
}

// processor is one of contrib's; all of them share what they remember, for a trace's id is one everywhere.
func (s *sampler) processor(
	ctx context.Context, config tailsamplingprocessor.Config, next consumer.Traces, options ...tailsamplingprocessor.Option,
) (processor.Traces, error) {
	config.Options = slices.Concat(config.Options, options, []tailsamplingprocessor.Option{
		tailsamplingprocessor.WithSampledDecisionCache(s.kept), tailsamplingprocessor.WithNonSampledDecisionCache(s.away)})
	return tailsamplingprocessor.NewFactory().CreateTraces(ctx, s.set, &config, next)
}

// Start finds the ledger before the first decision.
func (s *sampler) Start(ctx context.Context, host component.Host) error {
	s.book, s.host = ledger.Find(host), host
	return s.Traces.Start(ctx, host)
}

// Shutdown ends the samplers of partitions too; a receiver that stopped in order has ended them before.
func (s *sampler) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	tiers := slices.Collect(maps.Values(s.tiers))
	s.mu.Unlock()
	for _, each := range tiers {
		each.end()
	}
	return s.Traces.Shutdown(ctx)
}

// Capabilities: late spans are removed in place.
func (s *sampler) Capabilities() consumer.Capabilities {
	return consumer.Capabilities{MutatesData: true}
}

// ConsumeTraces takes late spans of traces that were decided away out, for the processor drops those without a hook.
func (s *sampler) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	if receipt := delivery.From(ctx); receipt != nil {
		found, err := s.tier(receipt.Partition)
		if err != nil {
			return err
		}
		return found.take(ctx, td, receipt)
	}
	s.count("sampled_away", "late", s.dropLate(td))
	if td.ResourceSpans().Len() == 0 {
		return nil
	}
	return s.Traces.ConsumeTraces(ctx, td)
}

// dropLate removes spans of traces that were decided away, and says how many.
func (s *sampler) dropLate(td ptrace.Traces) int {
	late := 0
	td.ResourceSpans().RemoveIf(func(group ptrace.ResourceSpans) bool {
		group.ScopeSpans().RemoveIf(func(scope ptrace.ScopeSpans) bool {
			scope.Spans().RemoveIf(func(span ptrace.Span) bool {
				_, gone := s.away.Get(span.TraceID())
				if gone {
					late++
				}
				return gone
			})
			return scope.Spans().Len() == 0
		})
		return group.ScopeSpans().Len() == 0
	})
	return late
}

// spansOf counts by trace.
func spansOf(td ptrace.Traces) map[pcommon.TraceID]int {
	found := map[pcommon.TraceID]int{}
	for _, group := range td.ResourceSpans().All() {
		for _, scope := range group.ScopeSpans().All() {
			for _, span := range scope.Spans().All() {
				found[span.TraceID()]++
			}
		}
	}
	return found
}

func (s *sampler) decidedAway(_ context.Context, _ pcommon.TraceID, trace *tailsamplingprocessor.TraceData) {
	s.count("sampled_away", "", int(trace.SpanCount))
}

func (s *sampler) count(stage, reason string, spans int) {
	s.book().Add(ledger.Entry{Signal: "traces", Backend: s.account, Stage: stage, Reason: reason, In: stage == "received"}, spans)
}
