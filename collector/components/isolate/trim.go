package isolate

import (
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Marks a span that was shortened, with the bytes it had.
const truncatedAttribute = "otelcol.truncated_from_bytes"

// Lengths that strings are cut to, one after the other, until the span fits.
var cuts = []int{16_384, 1_024, 64}

// trimmer brings every span, with the resource and scope it would travel with, under a number of bytes.
type trimmer struct{ limit int }

var sizes ptrace.ProtoMarshaler

// traces changes td in place: how many spans were shortened, and how many dropped. One size question where all is well.
func (t trimmer) traces(td ptrace.Traces) (truncated, dropped int) {
	if t.limit == 0 || sizes.TracesSize(td) <= t.limit {
		return 0, 0
	}
	td.ResourceSpans().RemoveIf(func(group ptrace.ResourceSpans) bool {
		if sizes.ResourceSpansSize(group) <= t.limit {
			return false
		}
		shorten(group.Resource().Attributes(), t.limit/4)
		group.ScopeSpans().RemoveIf(func(scope ptrace.ScopeSpans) bool {
			room := t.limit - frame(group, scope)
			scope.Spans().RemoveIf(func(span ptrace.Span) bool {
				size := sizes.SpanSize(span)
				switch {
				case size <= room:
					return false
				case fit(span, size, room):
					truncated++
					return false
				}
				dropped++
				return true
			})
			return scope.Spans().Len() == 0
		})
		return group.ScopeSpans().Len() == 0
	})
	return truncated, dropped
}

// frame is the size of a batch with this resource and scope and no span.
func frame(group ptrace.ResourceSpans, scope ptrace.ScopeSpans) int {
	empty := ptrace.NewTraces()
	outer := empty.ResourceSpans().AppendEmpty()
	group.Resource().CopyTo(outer.Resource())
	scope.Scope().CopyTo(outer.ScopeSpans().AppendEmpty().Scope())
	const lengths = 64 // of the length prefixes that grow with a span
	return sizes.TracesSize(empty) + lengths
}

// shorten cuts a resource's strings when it takes more than room.
func shorten(attributes pcommon.Map, room int) {
	for _, cut := range cuts {
		if mapSize(attributes) <= room {
			return
		}
		cutMap(attributes, cut)
	}
}

func mapSize(attributes pcommon.Map) int {
	holder := ptrace.NewSpan()
	attributes.CopyTo(holder.Attributes())
	return sizes.SpanSize(holder)
}

// fit shortens a span of size bytes until it has room; what is left of no use is dropped with its count.
func fit(span ptrace.Span, size, room int) bool {
	for _, cut := range cuts {
		cutSpan(span, cut)
		span.Attributes().PutInt(truncatedAttribute, int64(size))
		if sizes.SpanSize(span) <= room {
			return true
		}
	}
	span.SetDroppedEventsCount(span.DroppedEventsCount() + uint32(span.Events().Len()))
	span.Events().RemoveIf(func(ptrace.SpanEvent) bool { return true })
	span.SetDroppedLinksCount(span.DroppedLinksCount() + uint32(span.Links().Len()))
	span.Links().RemoveIf(func(ptrace.SpanLink) bool { return true })
	if sizes.SpanSize(span) <= room {
		return true
	}
	span.SetDroppedAttributesCount(span.DroppedAttributesCount() + uint32(span.Attributes().Len()) - 1)
	span.Attributes().Clear()
	span.Attributes().PutInt(truncatedAttribute, int64(size))
	return sizes.SpanSize(span) <= room
}

func cutSpan(span ptrace.Span, cut int) {
	span.SetName(cutText(span.Name(), cut))
	span.Status().SetMessage(cutText(span.Status().Message(), cut))
	cutMap(span.Attributes(), cut)
	for _, event := range span.Events().All() {
		event.SetName(cutText(event.Name(), cut))
		cutMap(event.Attributes(), cut)
	}
	for _, link := range span.Links().All() {
		cutMap(link.Attributes(), cut)
	}
}

func cutMap(attributes pcommon.Map, cut int) {
	for _, value := range attributes.All() {
		cutValue(value, cut)
	}
}

func cutValue(value pcommon.Value, cut int) {
	switch value.Type() {
	case pcommon.ValueTypeStr:
		value.SetStr(cutText(value.Str(), cut))
	case pcommon.ValueTypeBytes:
		if raw := value.Bytes().AsRaw(); len(raw) > cut {
			value.SetEmptyBytes().FromRaw(raw[:cut])
		}
	case pcommon.ValueTypeMap:
		cutMap(value.Map(), cut)
	case pcommon.ValueTypeSlice:
		for _, item := range value.Slice().All() {
			cutValue(item, cut)
		}
	}
}

// cutText never cuts through a character.
func cutText(text string, cut int) string {
	if len(text) <= cut {
		return text
	}
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut]
}
