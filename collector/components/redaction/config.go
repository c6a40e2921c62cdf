package redaction

import (
	"errors"
	"fmt"
	"regexp"
)

// Config has the names of contrib's redaction processor, of which it is the part that this distribution uses.
type Config struct {
	// AllowAllKeys must be true: a closed list of keys is contrib's business.
	AllowAllKeys bool `mapstructure:"allow_all_keys"`
	// BlockedKeyPatterns: the value of a key that matches is masked whole.
	BlockedKeyPatterns []string `mapstructure:"blocked_key_patterns"`
	// BlockedValues: what matches in a text is masked, wherever it stands.
	BlockedValues []string `mapstructure:"blocked_values"`
	// Summary "info" says in an attribute how many values were masked; "silent" does not.
	Summary string `mapstructure:"summary"`
}

// Validate is called by the collector.
func (c *Config) Validate() error {
	if !c.AllowAllKeys {
		return errors.New("allow_all_keys must be true: lists of allowed keys are not supported")
	}
	if c.Summary != "info" && c.Summary != "silent" {
		return fmt.Errorf("summary is info or silent, not %q", c.Summary)
	}
	for _, pattern := range append(c.BlockedKeyPatterns[:len(c.BlockedKeyPatterns):len(c.BlockedKeyPatterns)], c.BlockedValues...) {
		if _, err := regexp.Compile(pattern); err != nil {
			return err
		}
	}
	return nil
}
