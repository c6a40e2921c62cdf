package kafkatraces

import (
	"sync"
	"time"
)

// fate of a message.
type fate byte

const (
	pending fate = iota // read, or not read yet
	kept                // decided, and in a queue
	away                // decided not to be kept
	done                // needs not be read, for another reason: nobody knows what was decided, or there was nothing to decide
)

// window is what is known of a partition's messages from the committed offset on.
type window struct {
	mu      sync.Mutex
	opened  bool
	base    int64   // every message below is settled: the offset that may be committed
	fates   []fate  // of base and those behind it
	written []int64 // when each of them was, in Unix milliseconds; 0 where it has not been read by us
	changed bool    // since the last note
}

// restore begins with what an earlier owner has committed.
func (w *window) restore(base int64, fates []fate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened, w.base, w.fates, w.written = true, base, fates, make([]int64, len(fates))
	w.advance()
}

// continued adds what an earlier term of ours has settled to what was committed: its last commits may have failed.
func (w *window) continued(base int64, fates []fate) []fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	for place := range min(w.base+int64(len(w.fates))-base, mostMessages) {
		found := done
		if known := base + place - w.base; known >= 0 {
			found = w.fates[known]
		}
		if place == int64(len(fates)) {
			fates = append(fates, pending)
		}
		if fates[place] == pending {
			fates[place] = found
		}
	}
	return fates
}

// open tells a message's fate before it is read; offsets that Kafka jumps over hold nothing.
func (w *window) open(offset int64, written time.Time) fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.opened {
		w.opened, w.base = true, offset
	}
	if offset < w.base {
		return done
	}
	for next := w.base + int64(len(w.fates)); next <= offset; next++ {
		w.fates, w.written = append(w.fates, done), append(w.written, 0)
		if next == offset {
			w.fates[len(w.fates)-1] = pending
		}
	}
	w.written[offset-w.base] = written.UnixMilli()
	found := w.fates[offset-w.base]
	w.changed = true
	w.advance()
	return found
}

// settle notes that a message needs not be read again.
func (w *window) settle(offset int64, found fate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if place := offset - w.base; place >= 0 && place < int64(len(w.fates)) {
		w.fates[place] = found
		w.changed = true
		w.advance()
	}
}

// advance moves the base behind what is settled without a gap.
func (w *window) advance() {
	done := 0
	for done < len(w.fates) && w.fates[done] != pending {
		done++
	}
	w.base += int64(done)
	w.fates, w.written = w.fates[done:], w.written[done:]
}

// behind is what a group's lag is made of: the first offset that is not settled, and for how long its message has waited, which is
// 0 where it has not been read; known is false before there is any.
func (w *window) behind(now time.Time) (base int64, waited time.Duration, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.written) > 0 && w.written[0] > 0 {
		waited = max(now.Sub(time.UnixMilli(w.written[0])), 0) // another machine's clock may be ahead
	}
	return w.base, waited, w.opened
}

// end is the offset behind the last message that was read.
func (w *window) end() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.base + int64(len(w.fates))
}

// note is what to commit, when there is anything new.
func (w *window) note() (base int64, text string, changed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.changed {
		return 0, "", false
	}
	w.changed = false
	return w.base, encode(w.fates), true
}

// again makes the next note, for the last one was not committed.
func (w *window) again() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed = true
}
