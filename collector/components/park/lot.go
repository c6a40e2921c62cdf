package park

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const suffix = ".otlp"

var (
	errFull   = errors.New("no room: max_bytes is reached")
	errEmpty  = errors.New("nothing is parked")
	errBroken = errors.New("it is no parked batch")
)

// ticket is the first line of a parked file; the request's body follows as it was.
type ticket struct {
	Method   string    `json:"method"` // gRPC method or URL path
	Encoding string    `json:"encoding,omitempty"`
	Type     string    `json:"type,omitempty"`
	Signal   string    `json:"signal"`
	Items    int       `json:"items"`
	Code     string    `json:"code"`
	Since    time.Time `json:"since"` // by the clock of then; see lot.age
}

// lot is the directory of the parked batches. The order is that of arrival, save that a batch refused again goes to the back.
type lot struct {
	mu        sync.Mutex
	directory string
	limit     int64
	bytes     int64
	names     []string
	sizes     map[string]int64
	seen      map[string]time.Time // when this process met it
	serial    int
	opened    time.Time
}

func openLot(directory string, limit int64) (*lot, error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, err
	}
	found, err := os.ReadDir(directory)
	if err != nil {
		return nil, err
	}
	opened := &lot{directory: directory, limit: limit, sizes: map[string]int64{}, seen: map[string]time.Time{}, opened: time.Now()}
	for _, entry := range found {
		if strings.HasSuffix(entry.Name(), ".part") { // half written when a process was killed; its sender still has it
			_ = os.Remove(filepath.Join(directory, entry.Name()))
		}
		info, err := entry.Info()
		if err != nil || !strings.HasSuffix(entry.Name(), suffix) {
			continue
		}
		opened.add(entry.Name(), info.Size())
	}
	slices.Sort(opened.names)
	return opened, nil
}

func (l *lot) add(name string, size int64) {
	l.names = append(l.names, name)
	l.sizes[name], l.seen[name] = size, time.Now()
	l.bytes += size
}

// put writes a batch; on any error nothing of it stays.
func (l *lot) put(about ticket, body []byte) error {
	head, err := json.Marshal(about)
	if err != nil {
		return err
	}
	size := int64(len(head) + 1 + len(body))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bytes+size > l.limit {
		return errFull
	}
	l.serial++
	name := fmt.Sprintf("%020d-%06d%s", time.Now().UnixNano(), l.serial, suffix)
	path := filepath.Join(l.directory, name)
	content := slices.Concat(head, []byte("\n"), body)
	if err := os.WriteFile(path+".part", content, 0o600); err != nil {
		return errors.Join(err, os.Remove(path+".part"))
	}
	if err := os.Rename(path+".part", path); err != nil {
		return errors.Join(err, os.Remove(path+".part"))
	}
	l.add(name, size)
	return nil
}

// first is the batch whose turn it is, or errEmpty, errBroken, or why its file cannot be read now.
func (l *lot) first() (name string, about ticket, body []byte, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.names) == 0 {
		return "", ticket{}, nil, errEmpty
	}
	name = l.names[0]
	content, err := os.ReadFile(filepath.Join(l.directory, name))
	if err != nil {
		return name, ticket{}, nil, err
	}
	head, body, found := bytes.Cut(content, []byte("\n"))
	if !found || json.Unmarshal(head, &about) != nil {
		return name, ticket{}, nil, errBroken
	}
	return name, about, body, nil
}

// setAside forgets a batch that can never be offered; what is left of its file stays beside.
func (l *lot) setAside(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = os.Rename(filepath.Join(l.directory, name), filepath.Join(l.directory, name+".broken"))
	l.forget(name)
}

// remove forgets a batch that was delivered or discarded.
func (l *lot) remove(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(name)
	return os.Remove(filepath.Join(l.directory, name))
}

func (l *lot) forget(name string) {
	l.names = slices.DeleteFunc(l.names, func(each string) bool { return each == name })
	l.bytes -= l.sizes[name]
	delete(l.sizes, name)
	delete(l.seen, name)
}

// now is the wall clock of the start plus the time since then: a clock that is set anew makes no batch older or younger.
func (l *lot) now() time.Time { return l.opened.Add(time.Since(l.opened)) }

// age of a batch: since it was parked, or, where a clock that was ahead wrote that down, since this process met it.
func (l *lot) age(name string, about ticket) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.now().Sub(about.Since), time.Since(l.seen[name]))
}

// back sends a batch to the end of the line.
func (l *lot) back(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names = append(slices.DeleteFunc(l.names, func(each string) bool { return each == name }), name)
}

func (l *lot) state() (batches int, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.names), l.bytes
}
