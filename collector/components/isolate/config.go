package isolate

import (
	"errors"
	"fmt"
	"slices"

	"go.opentelemetry.io/collector/pipeline"
)

// The smallest limit that leaves room for ids, times and a name.
const smallestItem = 4096

// Config of the isolate connector.
type Config struct {
	// Followers are pipelines that get a batch only once a backend's branch has accepted it (span metrics: a batch that all
	// refuse comes again, and must not be counted twice). What they answer changes nothing for the sender.
	Followers []pipeline.ID `mapstructure:"followers"`
	// Stored are branches whose queue is on disk: what they are given is written before they answer, and changed by nobody, so
	// they share it where others get a copy. Named wrongly, two branches write into one batch.
	Stored []pipeline.ID `mapstructure:"stored"`
	// Accounts are the followers that have one in the ledger, for their exporter counts what it delivers (park).
	Accounts []pipeline.ID `mapstructure:"accounts"`
	// MaxSpanBytes is the size above which a span is truncated, and where that does not help, dropped alone. A span that is
	// larger than an exporter's batch.max_size takes its neighbours along. 0: no limit.
	MaxSpanBytes int `mapstructure:"max_span_bytes"`
	// Leaves names the ledger's account that the batches of this connector leave: that of the sampler before it. A sampler
	// does not come again with what all branches refuse, so that is a counted drop of each.
	Leaves string `mapstructure:"leaves"`
	// Directory is where the queues of all branches are.
	Directory string `mapstructure:"directory"`
	// MinFreeBytes of its disk, below which senders are told to come again: a queue whose disk is full loses what it was about
	// to send. More than the largest request times the branches. 0: not looked at.
	MinFreeBytes int64 `mapstructure:"min_free_bytes"`
}

// Validate is called by the collector.
func (c *Config) Validate() error {
	if c.MaxSpanBytes != 0 && c.MaxSpanBytes < smallestItem {
		return errors.New("max_span_bytes is 0 (no limit) or at least 4096")
	}
	for _, each := range c.Accounts {
		if !slices.Contains(c.Followers, each) {
			return fmt.Errorf("accounts: %s is no follower; every other branch has an account", each)
		}
	}
	if c.MinFreeBytes < 0 || (c.MinFreeBytes > 0 && c.Directory == "") {
		return errors.New("min_free_bytes is 0 (not looked at), or above it with a directory")
	}
	return nil
}
