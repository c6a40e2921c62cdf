package park

import (
	"reflect"

	"google.golang.org/protobuf/encoding/protowire"

	"otel-distro.example/components/wire"
)

// Where the collector's own messages keep what is counted. They are of an internal package, so they are read by name; a
// message that looks otherwise is counted by its bytes.
var levels = map[string][3]string{
	"traces": {"ResourceSpans", "ScopeSpans", "Spans"},
	"logs":   {"ResourceLogs", "ScopeLogs", "LogRecords"},
	metrics:  {"ResourceMetrics", "ScopeMetrics", "Metrics"},
}

// counted is a message that knows how many it holds.
type counted interface{ ItemCount() int }

// countMessage is the number of spans, log records or points of an export request.
func countMessage(signal string, message any) int {
	if found, ok := message.(counted); ok {
		return found.ItemCount()
	}
	names := levels[signal]
	if count, ok := countLevel(reflect.ValueOf(message), names[:], signal == metrics); ok {
		return count
	}
	return countBody(signal, marshalled(message))
}

func countLevel(value reflect.Value, names []string, points bool) (int, bool) {
	value = reflect.Indirect(value)
	if value.Kind() != reflect.Struct {
		return 0, false
	}
	list := value.FieldByName(names[0])
	if !list.IsValid() || list.Kind() != reflect.Slice {
		return 0, false
	}
	if len(names) == 1 && !points {
		return list.Len(), true
	}
	total := 0
	for i := range list.Len() {
		count, ok := 0, false
		if len(names) == 1 {
			count, ok = countPoints(list.Index(i))
		} else {
			count, ok = countLevel(list.Index(i), names[1:], points)
		}
		if !ok {
			return 0, false
		}
		total += count
	}
	return total, true
}

// countPoints of one metric: Data is one of Metric_Gauge{Gauge}, Metric_Sum{Sum}..., each with DataPoints.
func countPoints(metric reflect.Value) (int, bool) {
	data := reflect.Indirect(metric).FieldByName("Data")
	if !data.IsValid() || data.Kind() != reflect.Interface {
		return 0, false
	}
	if data.IsNil() {
		return 0, true // a metric without points
	}
	kind := reflect.Indirect(data.Elem())
	if kind.Kind() != reflect.Struct || kind.NumField() != 1 {
		return 0, false
	}
	list := reflect.Indirect(kind.Field(0))
	if list.Kind() != reflect.Struct || !list.FieldByName("DataPoints").IsValid() {
		return 0, false
	}
	return list.FieldByName("DataPoints").Len(), true
}

// Fields of a metric that hold points: gauge, sum, histogram, exponential histogram, summary. Field 1 of each is its points.
var kinds = []protowire.Number{5, 7, 9, 10, 11}

// countBody counts in the bytes of a request.
func countBody(signal string, body []byte) int {
	total := 0
	wire.Items(body, func(item []byte) {
		if signal != metrics {
			total++
			return
		}
		for _, kind := range kinds {
			wire.Each(item, kind, func(data []byte) { wire.Each(data, 1, func([]byte) { total++ }) })
		}
	})
	return total
}

// rejectedItems of a response: field 1 is the partial success, whose field 1 is the number.
func rejectedItems(reply []byte) int {
	total := 0
	wire.Each(reply, 1, func(partial []byte) {
		number, kind, size := protowire.ConsumeTag(partial)
		if size > 0 && number == 1 && kind == protowire.VarintType {
			if value, read := protowire.ConsumeVarint(partial[size:]); read > 0 {
				total = int(value)
			}
		}
	})
	return total
}
