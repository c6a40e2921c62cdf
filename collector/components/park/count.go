package park

import (
	"reflect"

	"google.golang.org/protobuf/encoding/protowire"
)

// Where the collector's own messages keep what is counted. They are of an internal package, so they are read by name; a
// message that looks otherwise is counted by its bytes.
var levels = [2][3]string{{"ResourceSpans", "ScopeSpans", "Spans"}, {"ResourceLogs", "ScopeLogs", "LogRecords"}}

// countMessage is the number of spans or log records of an export request.
func countMessage(message any) int {
	value := reflect.ValueOf(message)
	for _, names := range levels {
		if count, ok := countLevel(value, names[:]); ok {
			return count
		}
	}
	return countBody(marshalled(message))
}

func countLevel(value reflect.Value, names []string) (int, bool) {
	value = reflect.Indirect(value)
	if value.Kind() != reflect.Struct {
		return 0, false
	}
	list := value.FieldByName(names[0])
	if !list.IsValid() || list.Kind() != reflect.Slice {
		return 0, false
	}
	if len(names) == 1 {
		return list.Len(), true
	}
	total := 0
	for i := range list.Len() {
		count, ok := countLevel(list.Index(i), names[1:])
		if !ok {
			return 0, false
		}
		total += count
	}
	return total, true
}

// countBody counts in the bytes of a request: resource groups are its field 1, scopes their field 2, items theirs. Traces and
// logs have the same numbers.
func countBody(body []byte) int {
	total := 0
	each(body, 1, func(group []byte) {
		each(group, 2, func(scope []byte) {
			each(scope, 2, func([]byte) { total++ })
		})
	})
	return total
}

// rejectedItems of a response: field 1 is the partial success, whose field 1 is the number.
func rejectedItems(reply []byte) int {
	total := 0
	each(reply, 1, func(partial []byte) {
		number, kind, size := protowire.ConsumeTag(partial)
		if size > 0 && number == 1 && kind == protowire.VarintType {
			if value, read := protowire.ConsumeVarint(partial[size:]); read > 0 {
				total = int(value)
			}
		}
	})
	return total
}

// each calls visit with every length-delimited field of that number; broken bytes end the walk.
func each(message []byte, wanted protowire.Number, visit func([]byte)) {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return
		}
		message = message[size:]
		if number == wanted && kind == protowire.BytesType {
			content, read := protowire.ConsumeBytes(message)
			if read < 0 {
				return
			}
			visit(content)
			message = message[read:]
			continue
		}
		read := protowire.ConsumeFieldValue(number, kind, message)
		if read < 0 {
			return
		}
		message = message[read:]
	}
}
