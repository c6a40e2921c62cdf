// Package sampler is the tail_sampling processor of contrib with an account in the ledger: spans that were sampled away on
// purpose are counted, and so are told from spans that were lost. Its type and configuration are those of contrib's.
package sampler

import (
	"context"
	"fmt"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/tailsamplingprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/tailsamplingprocessor/cache"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"

	"otel-distro.example/components/ledger"
)

// Traces decided not to be kept that are remembered where the configuration does not say how many.
const rememberedTraces = 100_000

// NewFactory takes the place of tailsamplingprocessor.NewFactory.
func NewFactory() processor.Factory {
	upstream := tailsamplingprocessor.NewFactory()
	return processor.NewFactory(upstream.Type(), upstream.CreateDefaultConfig,
		processor.WithTraces(create, upstream.TracesStability()))
}

// sampler stands around contrib's processor.
type sampler struct {
	processor.Traces
	account string
	away    cache.Cache
	book    func() *ledger.Book
}

func create(ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Traces) (processor.Traces, error) {
	given, ok := cfg.(*tailsamplingprocessor.Config)
	if !ok {
		return nil, fmt.Errorf("tail_sampling: %T is no tailsamplingprocessor.Config", cfg)
	}
	config := *given
	size := config.DecisionCache.NonSampledCacheSize
	if size <= 0 {
		size = rememberedTraces
	}
	away, err := cache.NewLRUDecisionCache(size)
	if err != nil {
		return nil, err
	}
	made := &sampler{account: set.ID.Name(), away: away, book: func() *ledger.Book { return nil }}
	if made.account == "" {
		made.account = "sampler"
	}
	config.Options = append(config.Options[:len(config.Options):len(config.Options)],
		tailsamplingprocessor.WithNonSampledDecisionCache(away), tailsamplingprocessor.WithNonSampledHooks(made.decidedAway))
	made.Traces, err = tailsamplingprocessor.NewFactory().CreateTraces(ctx, set, &config, next)
	return made, err
}

// Start finds the ledger before the first decision.
func (s *sampler) Start(ctx context.Context, host component.Host) error {
	s.book = ledger.Find(host)
	return s.Traces.Start(ctx, host)
}

// Capabilities: late spans are removed in place.
func (s *sampler) Capabilities() consumer.Capabilities {
	return consumer.Capabilities{MutatesData: true}
}

// ConsumeTraces takes late spans of traces that were decided away out, for the processor drops those without a hook.
func (s *sampler) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
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
	s.count("late", late)
	if td.ResourceSpans().Len() == 0 {
		return nil
	}
	return s.Traces.ConsumeTraces(ctx, td)
}

func (s *sampler) decidedAway(_ context.Context, _ pcommon.TraceID, trace *tailsamplingprocessor.TraceData) {
	s.count("", int(trace.SpanCount))
}

func (s *sampler) count(reason string, spans int) {
	s.book().Add(ledger.Entry{Signal: "traces", Backend: s.account, Stage: "sampled_away", Reason: reason}, spans)
}
