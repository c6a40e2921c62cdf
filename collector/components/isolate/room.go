package isolate

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// room is the disk that the queues behind the connector share. A queue that cannot write down what it is about to send forgets
// it, without a counter (exporterhelper 0.155: "Failed to dispatch item", at debug). So senders are refused while there is
// still room for that.
type room struct {
	directory string
	reserve   int64
}

// refusal is an error worth asking again after, or nil. A directory that cannot be asked about refuses nothing.
func (r room) refusal() error {
	if r.reserve == 0 {
		return nil
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(r.directory, &disk); err != nil {
		return nil
	}
	if free := int64(disk.Bavail) * disk.Bsize; free < r.reserve {
		return fmt.Errorf("every branch refused: %d bytes are left for %s, and min_free_bytes is %d", free, r.directory, r.reserve)
	}
	return nil
}

func (c *Config) room() room { return room{c.Directory, c.MinFreeBytes} }

var errStarting = errors.New("every branch refused: the collector is starting")

// closed is why nothing may come in now, or nil. A receiver that several pipelines share listens as soon as the first of them
// has started, and a queue that has not is a nil pointer (exporterhelper 0.155); branches start before their connector.
func (f *fan[T]) closed(r room) error {
	if !f.ready.Load() {
		return errStarting
	}
	return r.refusal()
}
