// Package park is a client middleware for OTLP exporters: a batch that a backend refuses for good (an expired token, a quota,
// a schema it does not know) is not thrown away, but written to disk and offered again later.
package park

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
)

// Type is the component type in a configuration; the name behind the slash is the backend's: park/tempo.
var Type = component.MustNewType("park")

// Config of the park extension.
type Config struct {
	// Directory of the parked batches, one file each, made when it is not there; one extension's own. Not needed for MaxBytes 0.
	Directory string `mapstructure:"directory"`
	// MaxBytes on disk. A batch that does not fit is dropped by its exporter, which counts it by code. 0: nothing is parked.
	MaxBytes int64 `mapstructure:"max_bytes"`
	// RetryInterval between two offers of what is parked.
	RetryInterval time.Duration `mapstructure:"retry_interval"`
	// MaxAge after which a batch that is still refused is discarded, and counted by code.
	MaxAge time.Duration `mapstructure:"max_age"`
}

// Validate is called by the collector.
func (c *Config) Validate() error {
	switch {
	case c.Directory == "" && c.MaxBytes > 0:
		return errors.New("directory is required")
	case c.MaxBytes < 0:
		return errors.New("max_bytes must not be below 0")
	case c.RetryInterval <= 0:
		return errors.New("retry_interval must be above 0")
	case c.MaxAge <= 0:
		return errors.New("max_age must be above 0")
	}
	return nil
}

// NewFactory of the park extension.
func NewFactory() extension.Factory {
	defaults := func() component.Config {
		return &Config{MaxBytes: 1 << 28, RetryInterval: 30 * time.Second, MaxAge: 24 * time.Hour}
	}
	return extension.NewFactory(Type, defaults, create, component.StabilityLevelBeta)
}

func create(_ context.Context, set extension.Settings, cfg component.Config) (extension.Extension, error) {
	config, ok := cfg.(*Config)
	if !ok {
		return nil, fmt.Errorf("park: %T is no park.Config", cfg)
	}
	return newExtension(config, set.ID.Name(), set.TelemetrySettings), nil
}
