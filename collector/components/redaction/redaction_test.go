package redaction

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor/processortest"
)

func settings() *Config {
	return &Config{
		AllowAllKeys:       true,
		Summary:            "info",
		BlockedKeyPatterns: []string{`(?i)(password|api[_.-]?key|^user\.name$)`},
		BlockedValues:      []string{`(?i)[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,}`, `\b4[0-9]{15}\b`, `(?i)\bbearer\s+[a-z0-9]{8,}`, `\beyJ[A-Za-z0-9]{8,}`},
	}
}

// spanOf gives a processor one span with these attributes, twice: the second time everything is known already.
func spanOf(t *testing.T, config *Config, fill func(ptrace.Span)) ptrace.Span {
	t.Helper()
	require.NoError(t, config.Validate())
	sink := new(consumertest.TracesSink)
	made, err := NewFactory().CreateTraces(t.Context(), processortest.NewNopSettings(Type), config, sink)
	require.NoError(t, err)
	require.NoError(t, made.Start(t.Context(), componenttest.NewNopHost()))
	for range 2 {
		td := ptrace.NewTraces()
		group := td.ResourceSpans().AppendEmpty()
		group.Resource().Attributes().PutStr("owner", "a@example.com")
		fill(group.ScopeSpans().AppendEmpty().Spans().AppendEmpty())
		require.NoError(t, made.ConsumeTraces(t.Context(), td))
	}
	require.NoError(t, made.Shutdown(t.Context()))
	for _, each := range sink.AllTraces() {
		owner, _ := each.ResourceSpans().At(0).Resource().Attributes().Get("owner")
		assert.Equal(t, mask, owner.Str())
	}
	first, second := sink.AllTraces()[0].ResourceSpans().At(0), sink.AllTraces()[1].ResourceSpans().At(0)
	assert.Equal(t, first.ScopeSpans().At(0).Spans().At(0).Attributes().AsRaw(), second.ScopeSpans().At(0).Spans().At(0).Attributes().AsRaw())
	return second.ScopeSpans().At(0).Spans().At(0)
}

func TestKeysAndValuesAreMaskedAndCounted(t *testing.T) {
	span := spanOf(t, settings(), func(span ptrace.Span) {
		for key, value := range map[string]string{
			"userPassword": "secret", "X-Api-Key": "k", "user.name": "jane", "user.names": "kept",
			"note": "to jane@example.com and JOE@EXAMPLE.ORG, card 4111111111111111", "auth": "Bearer abcdef123456", "jwt": "eyJhbGciOiJI", "plain": "GET",
		} {
			span.Attributes().PutStr(key, value)
		}
		span.Attributes().PutInt("http.password.tries", 3)
	})
	assert.Equal(t, map[string]any{
		"userPassword": mask, "X-Api-Key": mask, "user.name": mask, "user.names": "kept", "http.password.tries": mask,
		"note": "to **** and ****, card ****", "auth": mask, "jwt": mask, "plain": "GET", countKey: int64(7),
	}, span.Attributes().AsRaw())
}

func TestWhatIsCleanIsNotTouched(t *testing.T) {
	span := spanOf(t, settings(), func(span ptrace.Span) {
		span.SetName("GET /orders/{id}")
		span.Attributes().PutStr("db.query.text", "SELECT 1")
		span.Attributes().PutInt("n", 4111111111111111)
	})
	assert.Equal(t, "GET /orders/{id}", span.Name())
	assert.Equal(t, map[string]any{"db.query.text": "SELECT 1", "n": int64(4111111111111111)}, span.Attributes().AsRaw())
}

func TestNamesMessagesEventsLinksAndNestedValues(t *testing.T) {
	span := spanOf(t, settings(), func(span ptrace.Span) {
		span.SetName("mail to jane@example.com")
		span.Status().SetMessage("no mailbox jane@example.com")
		span.Events().AppendEmpty().Attributes().PutStr("exception.message", "jane@example.com")
		span.Links().AppendEmpty().Attributes().PutStr("password", "x")
		list := span.Attributes().PutEmptySlice("to")
		list.AppendEmpty().SetStr("jane@example.com")
		list.AppendEmpty().SetEmptyMap().PutStr("password", "x")
	})
	assert.Equal(t, "mail to ****", span.Name())
	assert.Equal(t, "no mailbox ****", span.Status().Message())
	assert.Equal(t, map[string]any{"exception.message": mask, countKey: int64(1)}, span.Events().At(0).Attributes().AsRaw())
	assert.Equal(t, map[string]any{"password": mask, countKey: int64(1)}, span.Links().At(0).Attributes().AsRaw())
	assert.Equal(t, map[string]any{"to": []any{mask, map[string]any{"password": mask}}, countKey: int64(4)}, span.Attributes().AsRaw())
}

func TestListsThatNeverEndAreMaskedUnseen(t *testing.T) {
	span := spanOf(t, settings(), func(span ptrace.Span) {
		list := span.Attributes().PutEmptySlice("deep")
		for range 2 * nestedDeep {
			list = list.AppendEmpty().SetEmptySlice()
		}
		list.AppendEmpty().SetStr("jane@example.com")
	})
	value, _ := span.Attributes().Get("deep")
	assert.NotContains(t, value.AsString(), "jane")
	assert.Contains(t, value.AsString(), mask)
}

func TestSilentSaysNothing(t *testing.T) {
	config := settings()
	config.Summary = "silent"
	span := spanOf(t, config, func(span ptrace.Span) { span.Attributes().PutStr("password", "x") })
	assert.Equal(t, map[string]any{"password": mask}, span.Attributes().AsRaw())
}

func TestLogsAndMetrics(t *testing.T) {
	records := new(consumertest.LogsSink)
	first, err := NewFactory().CreateLogs(t.Context(), processortest.NewNopSettings(Type), settings(), records)
	require.NoError(t, err)
	ld := plog.NewLogs()
	record := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	record.Body().SetStr("login of jane@example.com")
	record.Attributes().PutStr("password", "x")
	require.NoError(t, first.ConsumeLogs(t.Context(), ld))
	seen := records.AllLogs()[0].ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0)
	assert.Equal(t, "login of ****", seen.Body().Str())
	assert.Equal(t, map[string]any{"password": mask, countKey: int64(1), bodyKey: int64(1)}, seen.Attributes().AsRaw())

	points := new(consumertest.MetricsSink)
	second, err := NewFactory().CreateMetrics(t.Context(), processortest.NewNopSettings(Type), settings(), points)
	require.NoError(t, err)
	md := pmetric.NewMetrics()
	scope := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty()
	attributes := []pcommon.Map{
		scope.Metrics().AppendEmpty().SetEmptyGauge().DataPoints().AppendEmpty().Attributes(),
		scope.Metrics().AppendEmpty().SetEmptySum().DataPoints().AppendEmpty().Attributes(),
		scope.Metrics().AppendEmpty().SetEmptyHistogram().DataPoints().AppendEmpty().Exemplars().AppendEmpty().FilteredAttributes(),
		scope.Metrics().AppendEmpty().SetEmptyExponentialHistogram().DataPoints().AppendEmpty().Attributes(),
		scope.Metrics().AppendEmpty().SetEmptySummary().DataPoints().AppendEmpty().Attributes(),
	}
	for _, each := range attributes {
		each.PutStr("mail", "jane@example.com")
	}
	require.NoError(t, second.ConsumeMetrics(t.Context(), md))
	for _, each := range attributes {
		assert.Equal(t, map[string]any{"mail": mask}, each.AsRaw())
	}
}

func TestWrongConfigurationsAreRefused(t *testing.T) {
	for expected, change := range map[string]func(*Config){
		"allow_all_keys":    func(c *Config) { c.AllowAllKeys = false },
		"summary":           func(c *Config) { c.Summary = "loud" },
		"missing closing )": func(c *Config) { c.BlockedValues = []string{"(a"} },
	} {
		config := settings()
		change(config)
		assert.ErrorContains(t, config.Validate(), expected)
	}
}

func TestWhatHasToBeThereIsFoundInAnExpression(t *testing.T) {
	for expression, expected := range map[string]string{
		`(?i)[a-z]+@[a-z]+`: "@", `\beyJ[a-z]{8}\.`: "eyJ", `(?i)\bbearer\s+x`: "", `4[0-9]{12}|5[1-5]`: "", `(abc)+d?`: "abc", `(abc)*`: "",
	} {
		found, err := compiled(expression)
		require.NoError(t, err)
		assert.Equal(t, expected, found.always, expression)
	}
}

func TestMemoryIsBoundedAndNeverWrong(t *testing.T) {
	memory := newKnown()
	bad := func(text string) bool { return strings.HasSuffix(text, "7") }
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for i := range 3 * shards * perShard {
				text := fmt.Sprintf("value-%d", i)
				if memory.ask(text, bad) != bad(text) || memory.ask("constant", bad) {
					t.Errorf("wrong about %s", text)
				}
			}
		})
	}
	running.Wait()
	for i := range memory.shards {
		assert.LessOrEqual(t, len(memory.shards[i].young)+len(memory.shards[i].old), 2*perShard)
	}
	looked := 0
	memory.ask(strings.Repeat("x", longestKnown+1), func(string) bool { looked++; return true })
	assert.True(t, memory.ask(strings.Repeat("x", longestKnown+1), func(string) bool { looked++; return true }))
	assert.Equal(t, 2, looked)
}

func BenchmarkSpans(b *testing.B) {
	made, err := newTraces(context.Background(), processortest.NewNopSettings(Type), settings(), consumertest.NewNop())
	require.NoError(b, err)
	td := ptrace.NewTraces()
	spans := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
	for i := range 512 {
		span := spans.AppendEmpty()
		for j := range 14 {
			span.Attributes().PutStr(fmt.Sprintf("some.key.%d", j), fmt.Sprintf("a value of middling length %d", j))
		}
		span.Attributes().PutStr("request.id", fmt.Sprintf("%032x", i))
	}
	for b.Loop() {
		if err := made.ConsumeTraces(context.Background(), td); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/512, "ns/span")
}
