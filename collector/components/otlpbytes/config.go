package otlpbytes

import (
	"fmt"

	"go.opentelemetry.io/collector/exporter/otlpexporter"
)

// Compressions of a queue's records.
const (
	packed   = "s2"
	unpacked = "none"
)

// Config is the stock exporter's, and how its queue on disk is written.
type Config struct {
	otlpexporter.Config `mapstructure:",squash"`
	// QueueCompression "s2" makes a queue of traces a tenth of its size, and writing it cheaper than without; "none" writes what the
	// stock exporter can read. Either reads all.
	QueueCompression string `mapstructure:"queue_compression"`
}

// Validate is called by the collector.
func (c *Config) Validate() error {
	if c.QueueCompression != packed && c.QueueCompression != unpacked {
		return fmt.Errorf("queue_compression is s2 or none, not %q", c.QueueCompression)
	}
	return c.Config.Validate()
}
