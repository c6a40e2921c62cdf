package isolate

import (
	"errors"

	"go.opentelemetry.io/collector/pipeline"
)

// The smallest limit that leaves room for ids, times and a name.
const smallestItem = 4096

// Config of the isolate connector.
type Config struct {
	// Followers are pipelines that get a batch only once a backend's branch has accepted it (span metrics: a batch that all
	// refuse comes again, and must not be counted twice). What they answer changes nothing for the sender.
	Followers []pipeline.ID `mapstructure:"followers"`
	// MaxSpanBytes is the size above which a span is truncated, and where that does not help, dropped alone. A span that is
	// larger than an exporter's batch.max_size takes its neighbours along. 0: no limit.
	MaxSpanBytes int `mapstructure:"max_span_bytes"`
	// Leaves names the ledger's account that the batches of this connector leave: that of the sampler before it. A sampler
	// does not come again with what all branches refuse, so that is a counted drop of each.
	Leaves string `mapstructure:"leaves"`
}

// Validate is called by the collector.
func (c *Config) Validate() error {
	if c.MaxSpanBytes != 0 && c.MaxSpanBytes < smallestItem {
		return errors.New("max_span_bytes is 0 (no limit) or at least 4096")
	}
	return nil
}
