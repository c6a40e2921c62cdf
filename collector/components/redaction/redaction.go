// Package redaction masks personal data and credentials before anything is queued. Its type, configuration and marks are those of
// contrib's redaction processor, whose regular expressions on every key and value of every span cost four times what the rest
// of a gateway does (docs/sizing.md). This one remembers what it has found about a text, and also looks into lists and maps, names of spans,
// messages of statuses and links.
package redaction

import (
	"context"
	"fmt"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
)

const (
	mask       = "****"
	countKey   = "redaction.masked.count"
	bodyKey    = "redaction.body.masked.count"
	nestedDeep = 32 // levels of lists in lists; deeper ones are masked unseen
)

// Type is the component type in a configuration.
var Type = component.MustNewType("redaction")

// NewFactory takes the place of redactionprocessor.NewFactory.
func NewFactory() processor.Factory {
	return processor.NewFactory(Type, func() component.Config { return &Config{Summary: "info"} },
		processor.WithTraces(newTraces, component.StabilityLevelBeta),
		processor.WithMetrics(newMetrics, component.StabilityLevelBeta),
		processor.WithLogs(newLogs, component.StabilityLevelBeta))
}

// masker finds and masks; it is shared by all requests.
type masker struct {
	component.StartFunc
	component.ShutdownFunc
	keys, values []pattern
	badKeys      *known
	badValues    *known
	summary      bool
}

// Capabilities: values are changed in place.
func (m *masker) Capabilities() consumer.Capabilities {
	return consumer.Capabilities{MutatesData: true}
}

func newMasker(cfg component.Config) (*masker, error) {
	config, ok := cfg.(*Config)
	if !ok {
		return nil, fmt.Errorf("redaction: %T is no redaction.Config", cfg)
	}
	made := &masker{badKeys: newKnown(), badValues: newKnown(), summary: config.Summary == "info"}
	for _, expression := range config.BlockedKeyPatterns {
		each, err := compiled(expression)
		if err != nil {
			return nil, err
		}
		made.keys = append(made.keys, each)
	}
	for _, expression := range config.BlockedValues {
		each, err := compiled(expression)
		if err != nil {
			return nil, err
		}
		made.values = append(made.values, each)
	}
	return made, nil
}

func anyMatches(patterns []pattern, text string) bool {
	for _, each := range patterns {
		if each.matches(text) {
			return true
		}
	}
	return false
}

func (m *masker) badKey(key string) bool {
	return m.badKeys.ask(key, func(text string) bool { return anyMatches(m.keys, text) })
}

// text without what matches, and whether anything did.
func (m *masker) text(text string) (string, bool) {
	if text == "" || !m.badValues.ask(text, func(text string) bool { return anyMatches(m.values, text) }) {
		return text, false
	}
	for _, each := range m.values {
		text = each.ReplaceAllLiteralString(text, mask)
	}
	return text, true
}

// value masks in place: how many texts were.
func (m *masker) value(value pcommon.Value, depth int) (masked int) {
	switch value.Type() {
	case pcommon.ValueTypeStr:
		if clean, changed := m.text(value.Str()); changed {
			value.SetStr(clean)
			return 1
		}
	case pcommon.ValueTypeMap, pcommon.ValueTypeSlice:
		if depth >= nestedDeep {
			value.SetStr(mask)
			return 1
		}
		if value.Type() == pcommon.ValueTypeMap {
			return m.pairs(value.Map(), depth+1)
		}
		for _, item := range value.Slice().All() {
			masked += m.value(item, depth+1)
		}
	}
	return masked
}

func (m *masker) pairs(pairs pcommon.Map, depth int) (masked int) {
	for key, value := range pairs.All() {
		if m.badKey(key) {
			value.SetStr(mask)
			masked++
			continue
		}
		masked += m.value(value, depth)
	}
	return masked
}

// attributes of one owner, with the number of what was masked, further ones included.
func (m *masker) attributes(attributes pcommon.Map, further int) {
	m.mark(attributes, countKey, m.pairs(attributes, 0)+further)
}

func (m *masker) mark(attributes pcommon.Map, key string, masked int) {
	if masked > 0 && m.summary {
		attributes.PutInt(key, int64(masked))
	}
}

func (m *masker) span(span ptrace.Span) {
	masked := 0
	if clean, changed := m.text(span.Name()); changed {
		span.SetName(clean)
		masked++
	}
	if clean, changed := m.text(span.Status().Message()); changed {
		span.Status().SetMessage(clean)
		masked++
	}
	for _, event := range span.Events().All() {
		m.attributes(event.Attributes(), 0)
	}
	for _, link := range span.Links().All() {
		m.attributes(link.Attributes(), 0)
	}
	m.attributes(span.Attributes(), masked)
}

type traces struct {
	*masker
	next consumer.Traces
}

func newTraces(_ context.Context, _ processor.Settings, cfg component.Config, next consumer.Traces) (processor.Traces, error) {
	made, err := newMasker(cfg)
	return &traces{made, next}, err
}

// ConsumeTraces masks and hands on.
func (t *traces) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	for _, group := range td.ResourceSpans().All() {
		t.attributes(group.Resource().Attributes(), 0)
		for _, scope := range group.ScopeSpans().All() {
			t.attributes(scope.Scope().Attributes(), 0)
			for _, span := range scope.Spans().All() {
				t.span(span)
			}
		}
	}
	return t.next.ConsumeTraces(ctx, td)
}

type logs struct {
	*masker
	next consumer.Logs
}

func newLogs(_ context.Context, _ processor.Settings, cfg component.Config, next consumer.Logs) (processor.Logs, error) {
	made, err := newMasker(cfg)
	return &logs{made, next}, err
}

// ConsumeLogs masks and hands on.
func (l *logs) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	for _, group := range ld.ResourceLogs().All() {
		l.attributes(group.Resource().Attributes(), 0)
		for _, scope := range group.ScopeLogs().All() {
			l.attributes(scope.Scope().Attributes(), 0)
			for _, record := range scope.LogRecords().All() {
				l.attributes(record.Attributes(), 0)
				l.mark(record.Attributes(), bodyKey, l.value(record.Body(), 0))
			}
		}
	}
	return l.next.ConsumeLogs(ctx, ld)
}

type metrics struct {
	*masker
	next consumer.Metrics
}

func newMetrics(_ context.Context, _ processor.Settings, cfg component.Config, next consumer.Metrics) (processor.Metrics, error) {
	made, err := newMasker(cfg)
	if err != nil {
		return nil, err
	}
	made.summary = false // an attribute more would be another series
	return &metrics{made, next}, nil
}

// ConsumeMetrics masks and hands on.
func (s *metrics) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	for _, group := range md.ResourceMetrics().All() {
		s.attributes(group.Resource().Attributes(), 0)
		for _, scope := range group.ScopeMetrics().All() {
			s.attributes(scope.Scope().Attributes(), 0)
			for _, metric := range scope.Metrics().All() {
				s.metric(metric)
			}
		}
	}
	return s.next.ConsumeMetrics(ctx, md)
}

func (s *metrics) metric(metric pmetric.Metric) {
	switch metric.Type() {
	case pmetric.MetricTypeGauge:
		for _, point := range metric.Gauge().DataPoints().All() {
			s.point(point.Attributes(), point.Exemplars())
		}
	case pmetric.MetricTypeSum:
		for _, point := range metric.Sum().DataPoints().All() {
			s.point(point.Attributes(), point.Exemplars())
		}
	case pmetric.MetricTypeHistogram:
		for _, point := range metric.Histogram().DataPoints().All() {
			s.point(point.Attributes(), point.Exemplars())
		}
	case pmetric.MetricTypeExponentialHistogram:
		for _, point := range metric.ExponentialHistogram().DataPoints().All() {
			s.point(point.Attributes(), point.Exemplars())
		}
	case pmetric.MetricTypeSummary:
		for _, point := range metric.Summary().DataPoints().All() {
			s.attributes(point.Attributes(), 0)
		}
	}
}

func (s *metrics) point(attributes pcommon.Map, exemplars pmetric.ExemplarSlice) {
	s.attributes(attributes, 0)
	for _, each := range exemplars.All() {
		s.attributes(each.FilteredAttributes(), 0)
	}
}
