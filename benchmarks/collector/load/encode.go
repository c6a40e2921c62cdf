package main

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"
)

// spot is where the ids and times of one span stand in a request's body.
type spot struct {
	trace, span, parent int // offsets; parent is -1 for a root
	start, end          int
	of                  int   // number of the trace within the cycle
	own, above          int   // numbers of the span and of its parent within the cycle
	nanoseconds         int64 // duration
}

func (s spot) moved(by int) spot {
	s.trace, s.span, s.start, s.end = s.trace+by, s.span+by, s.start+by, s.end+by
	if s.parent >= 0 {
		s.parent += by
	}
	return s
}

// message is a protobuf message in the making, with the spots of the spans in it.
type message struct {
	body  []byte
	spots []spot
}

func (m *message) bytes(field protowire.Number, content []byte) (at int) {
	m.body = protowire.AppendTag(m.body, field, protowire.BytesType)
	m.body = protowire.AppendVarint(m.body, uint64(len(content)))
	at = len(m.body)
	m.body = append(m.body, content...)
	return at
}

func (m *message) text(field protowire.Number, content string) { m.bytes(field, []byte(content)) }

func (m *message) number(field protowire.Number, value uint64) {
	m.body = protowire.AppendVarint(protowire.AppendTag(m.body, field, protowire.VarintType), value)
}

func (m *message) fixed(field protowire.Number, value uint64) (at int) {
	m.body = protowire.AppendTag(m.body, field, protowire.Fixed64Type)
	at = len(m.body)
	m.body = binary.LittleEndian.AppendUint64(m.body, value)
	return at
}

// child appends a message with its spots.
func (m *message) child(field protowire.Number, inner *message) {
	at := m.bytes(field, inner.body)
	for _, each := range inner.spots {
		m.spots = append(m.spots, each.moved(at))
	}
}

// attribute appends a KeyValue; the value is a string, an int or a bool.
func (m *message) attribute(field protowire.Number, key string, value any) {
	var inner, any message
	switch value := value.(type) {
	case string:
		any.text(1, value)
	case bool:
		any.number(2, protowire.EncodeBool(value))
	case int:
		any.number(3, uint64(value))
	}
	inner.text(1, key)
	inner.bytes(2, any.body)
	m.bytes(field, inner.body)
}

// mixed is splitmix64's finaliser: different numbers give different ids, and all their bits look random.
func mixed(number uint64) uint64 {
	number += 0x9e3779b97f4a7c15
	number = (number ^ number>>30) * 0xbf58476d1ce4e5b9
	number = (number ^ number>>27) * 0x94d049bb133111eb
	return number ^ number>>31
}
