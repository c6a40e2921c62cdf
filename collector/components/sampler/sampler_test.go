package sampler

import (
	"context"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/tailsamplingprocessor"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor/processortest"

	"otel-distro.example/components/ledger"
)

// wait is how long a decision waits: longer than a busy machine takes for what comes before it.
const wait = 3 * time.Second

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

func trace(id byte, code ptrace.StatusCode, spans int) ptrace.Traces {
	made := ptrace.NewTraces()
	list := made.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
	for range spans {
		span := list.AppendEmpty()
		span.SetTraceID(pcommon.TraceID{1, 15: id})
		span.Status().SetCode(code)
	}
	return made
}

// What is sampled away, at its decision or late, and what is kept, make up what came.
func TestSampledAwayIsCountedAtTheDecisionAndLate(t *testing.T) {
	t.Parallel()
	at, sink, factory := newHost(t), new(consumertest.TracesSink), NewFactory()
	config := factory.CreateDefaultConfig().(*Config)
	config.DecisionWait = wait
	config.PolicyCfgs = []tailsamplingprocessor.PolicyCfg{errorsOnly()}
	made, err := factory.CreateTraces(context.Background(), processortest.NewNopSettings(factory.Type()), config, sink)
	require.NoError(t, err)
	require.NoError(t, made.Start(context.Background(), at))
	defer func() { require.NoError(t, made.Shutdown(context.Background())) }()
	require.NoError(t, made.ConsumeTraces(context.Background(), trace(1, ptrace.StatusCodeError, 3)))
	require.NoError(t, made.ConsumeTraces(context.Background(), trace(2, ptrace.StatusCodeOk, 2)))
	require.NoError(t, made.ConsumeTraces(context.Background(), trace(2, ptrace.StatusCodeOk, 2)))
	require.Eventually(t, func() bool { return sink.SpanCount() == 3 && at.sheet()["sampler sampled_away "] == 4 }, time.Minute, 20*time.Millisecond)
	require.NoError(t, made.ConsumeTraces(context.Background(), trace(2, ptrace.StatusCodeOk, 5)))
	require.Equal(t, map[string]int64{"sampler sampled_away ": 4, "sampler sampled_away late": 5}, at.sheet())
	require.Equal(t, 3, sink.SpanCount())
}

func errorsOnly() tailsamplingprocessor.PolicyCfg {
	policy := tailsamplingprocessor.PolicyCfg{}
	policy.Name, policy.Type = "errors", tailsamplingprocessor.StatusCode
	policy.StatusCodeCfg.StatusCodes = []string{"ERROR"}
	return policy
}

// What contrib would say at the start, a check says before.
func TestABrokenPatternIsNamedBeforeAStart(t *testing.T) {
	for place, given := range map[string]map[string]any{
		"plain": {"name": "routes", "type": "string_attribute", "string_attribute": broken},
		"and": {"name": "routes", "type": "and", "and": map[string]any{"and_sub_policy": []any{
			map[string]any{"name": "x", "type": "string_attribute", "string_attribute": broken}}}},
		"drop": {"name": "routes", "type": "drop", "drop": map[string]any{"drop_sub_policy": []any{
			map[string]any{"name": "x", "type": "not", "not": map[string]any{"not_sub_policy": map[string]any{
				"name": "y", "type": "string_attribute", "string_attribute": broken}}}}}},
		"composite": {"name": "routes", "type": "composite", "composite": map[string]any{"composite_sub_policy": []any{
			map[string]any{"name": "x", "type": "string_attribute", "string_attribute": broken}}}},
	} {
		t.Run(place, func(t *testing.T) {
			config := NewFactory().CreateDefaultConfig().(*Config)
			require.NoError(t, confmap.NewFromStringMap(map[string]any{"policies": []any{given}}).Unmarshal(config))
			require.ErrorContains(t, config.Validate(), `policy "routes": error parsing regexp: missing closing )`)
		})
	}
	config := NewFactory().CreateDefaultConfig().(*Config)
	require.Equal(t, tailsamplingprocessor.NewFactory().CreateDefaultConfig(), &config.Config)
	sound := map[string]any{"name": "routes", "type": "string_attribute", "string_attribute": map[string]any{"key": "k", "values": []any{"a(", "b"}}}
	require.NoError(t, confmap.NewFromStringMap(map[string]any{"policies": []any{sound}}).Unmarshal(config))
	require.NoError(t, config.Validate(), "a text that is to be met as it is")
}

var broken = map[string]any{"key": "http.route", "values": []any{"^/ok", "^/pay("}, "enabled_regex_matching": true}
