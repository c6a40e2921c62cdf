package isolate

import (
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
