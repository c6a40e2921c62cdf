// Package ledger counts what became of every item, in a file that outlives the process.
package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	cellBytes = 256
	cells     = 2048
	keyBytes  = cellBytes - 16
	magic     = "OTELDLG1"
)

var errFull = errors.New("the ledger has no free cell")

// Entry names one counter. In says on which side of the sheet it stands: what came into our keeping, or what left it.
type Entry struct {
	Signal  string // traces, logs
	Backend string // the name behind the slash of a pipeline or exporter: "tempo"
	Stage   string // received, delivered, dropped, parked...
	Reason  string // a code or a cause; empty where there is none
	In      bool
}

func (e Entry) key() string {
	side := "out"
	if e.In {
		side = "in"
	}
	return side + "\x00" + e.Signal + "\x00" + e.Backend + "\x00" + e.Stage + "\x00" + e.Reason
}

// Book is a table of counters in a mapped file: an addition is one atomic instruction, and kill -9 takes none back.
//
// A cell is 8 bytes of value, 8 of key length, 240 of key; the length is written last, so a torn cell is a free one.
type Book struct {
	mu    sync.Mutex
	file  *os.File // nil for a book in memory
	page  []byte
	index map[string]*atomic.Int64
	order []string
}

// OpenBook maps directory/ledger.bin, made when it is not there. One process at a time: a second one gets an error.
func OpenBook(directory string) (*Book, error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(directory, "ledger.bin"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	page, err := mapped(file)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ledger %s: %w", file.Name(), err), file.Close())
	}
	book := &Book{file: file, page: page, index: map[string]*atomic.Int64{}}
	return book, book.load()
}

// NewBook is a book in memory, for a collector that has no disk to keep one on.
func NewBook() *Book {
	return &Book{page: make([]byte, cells*cellBytes), index: map[string]*atomic.Int64{}}
}

func mapped(file *os.File) ([]byte, error) {
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("another collector has it open: %w", err)
	}
	// Blocks are taken now: a store into a hole of a full disk ends the process by SIGBUS.
	if err := unix.Fallocate(int(file.Fd()), 0, 0, cells*cellBytes); err != nil {
		return nil, err
	}
	return unix.Mmap(int(file.Fd()), 0, cells*cellBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

// load reads the keys of an earlier process; a file that is not a ledger is refused, never overwritten.
func (b *Book) load() error {
	head := string(b.page[:len(magic)])
	if head != magic && head != string(make([]byte, len(magic))) {
		name := b.file.Name()
		return errors.Join(fmt.Errorf("ledger %s is not a ledger: move it away", name), b.Release())
	}
	copy(b.page, magic)
	for slot := 1; slot < cells; slot++ { // cell 0 holds the magic
		key := b.keyAt(slot)
		if key == "" {
			break
		}
		b.index[key] = b.valueAt(slot)
		b.order = append(b.order, key)
	}
	return nil
}

func (b *Book) valueAt(slot int) *atomic.Int64 {
	return (*atomic.Int64)(unsafe.Pointer(&b.page[slot*cellBytes])) // #nosec G103 - cells are 8-byte aligned
}

func (b *Book) lengthAt(slot int) *atomic.Int64 {
	return (*atomic.Int64)(unsafe.Pointer(&b.page[slot*cellBytes+8])) // #nosec G103
}

func (b *Book) keyAt(slot int) string {
	length := b.lengthAt(slot).Load()
	if length <= 0 || length > keyBytes {
		return ""
	}
	start := slot*cellBytes + 16
	return string(b.page[start : start+int(length)])
}

// Cell is the counter of an entry, made at its first use; keep it where the same entry is counted again and again.
func (b *Book) Cell(entry Entry) (*atomic.Int64, error) {
	key := entry.key()
	b.mu.Lock()
	defer b.mu.Unlock()
	if cell, ok := b.index[key]; ok {
		return cell, nil
	}
	slot := len(b.order) + 1
	if slot >= cells || len(key) > keyBytes {
		return nil, errFull
	}
	copy(b.page[slot*cellBytes+16:], key)
	b.valueAt(slot).Store(0)
	b.lengthAt(slot).Store(int64(len(key)))
	cell := b.valueAt(slot)
	b.index[key] = cell
	b.order = append(b.order, key)
	return cell, nil
}

// Add counts n items of an entry; a nil book counts nothing.
func (b *Book) Add(entry Entry, n int) {
	if b == nil || n == 0 {
		return
	}
	if cell, err := b.Cell(entry); err == nil {
		cell.Add(int64(n))
	}
}

// Each calls visit with every counter.
func (b *Book) Each(visit func(entry Entry, value int64)) {
	b.mu.Lock()
	keys := b.order[:len(b.order):len(b.order)]
	values := make([]int64, len(keys))
	for i, key := range keys {
		values[i] = b.index[key].Load()
	}
	b.mu.Unlock()
	for i, key := range keys {
		visit(parseKey(key), values[i])
	}
}

// Release gives the file to the next process; the mapping stays, for an exporter that drains late may still count.
func (b *Book) Release() error {
	if b.file == nil {
		return nil
	}
	// The mapping keeps the open file, and with it the lock, alive: give the lock back by hand.
	return errors.Join(unix.Flock(int(b.file.Fd()), unix.LOCK_UN), b.file.Close())
}
