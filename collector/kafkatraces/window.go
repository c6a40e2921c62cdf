package kafkatraces

import "sync"

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
	base    int64  // every message below is settled: the offset that may be committed
	fates   []fate // of base and those behind it
	changed bool   // since the last note
}

// restore begins with what an earlier owner has committed.
func (w *window) restore(base int64, fates []fate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened, w.base, w.fates = true, base, fates
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
func (w *window) open(offset int64) fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.opened {
		w.opened, w.base = true, offset
	}
	if offset < w.base {
		return done
	}
	for next := w.base + int64(len(w.fates)); next <= offset; next++ {
		w.fates = append(w.fates, done)
		if next == offset {
			w.fates[len(w.fates)-1] = pending
		}
	}
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
	w.fates = w.fates[done:]
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
