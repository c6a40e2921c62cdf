package ledger

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

var received = Entry{Signal: "traces", Backend: "tempo", Stage: "received", In: true}

func values(book *Book) map[Entry]int64 {
	found := map[Entry]int64{}
	book.Each(func(entry Entry, value int64) { found[entry] = value })
	return found
}

// A process that is killed calls nothing: what it added stands in the file all the same.
func TestCountsOutliveTheProcess(t *testing.T) {
	directory := t.TempDir()
	first, err := OpenBook(directory)
	require.NoError(t, err)
	first.Add(received, 7)
	require.NoError(t, first.Release()) // the lock goes as with the process; the mapping is not synced, not unmapped
	second, err := OpenBook(directory)
	require.NoError(t, err)
	second.Add(received, 5)
	second.Add(Entry{Signal: "traces", Backend: "jaeger", Stage: "dropped", Reason: "queue_full"}, 2)
	require.Equal(t, map[Entry]int64{
		received: 12,
		{Signal: "traces", Backend: "jaeger", Stage: "dropped", Reason: "queue_full"}: 2,
	}, values(second))
}

func TestConcurrentAdditionsAreAllCounted(t *testing.T) {
	book := NewBook()
	var all sync.WaitGroup
	for range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			for range 1000 {
				book.Add(received, 1)
			}
		}()
	}
	all.Wait()
	require.Equal(t, int64(8000), values(book)[received])
}

func TestASecondCollectorIsRefused(t *testing.T) {
	directory := t.TempDir()
	first, err := OpenBook(directory)
	require.NoError(t, err)
	_, err = OpenBook(directory)
	require.ErrorContains(t, err, "another collector has it open")
	require.NoError(t, first.Release()) // the garbage collector would have closed its file
}

func TestAFileOfAnotherKindIsRefusedAndLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.bin")
	foreign := []byte("precious data of somebody else")
	require.NoError(t, os.WriteFile(path, foreign, 0o600))
	_, err := OpenBook(filepath.Dir(path))
	require.ErrorContains(t, err, "is not a ledger")
	kept, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, foreign, kept[:len(foreign)])
}

func TestAFullBookDropsNewEntriesAndKeepsCountingOldOnes(t *testing.T) {
	book := NewBook()
	book.Add(received, 1)
	for i := range cells {
		book.Add(Entry{Reason: string(rune('a' + i))}, 1)
	}
	book.Add(received, 1)
	require.Equal(t, int64(2), values(book)[received])
	require.Len(t, values(book), cells-1)
}
