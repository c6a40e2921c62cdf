package kafkatraces

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"
)

// The broker's own defaults for what it allows.
const shortestSession, longestSession = time.Second, 30 * time.Minute

// Config of the kafka_traces receiver.
type Config struct {
	// Brokers to ask first, as host:port.
	Brokers []string `mapstructure:"brokers"`
	// Topic with one trace a message, keyed by trace id: what the kafka exporter writes with partition_traces_by_id.
	Topic string `mapstructure:"topic"`
	// GroupID of the consumers that share the topic's partitions. A new group begins with what is there.
	GroupID string `mapstructure:"group_id"`
	// SessionTimeout after which the partitions of a member that fell silent go to the others.
	SessionTimeout time.Duration `mapstructure:"session_timeout"`
	// CommitInterval bounds what a kill -9 doubles: what was queued since the last commit is read again.
	CommitInterval time.Duration `mapstructure:"commit_interval"`
	// DrainTimeout is how long a stop waits, once the group is left, for the backends' queues to be empty by the ledger: a
	// replica that is scaled away leaves nothing behind on its disk. 0: it does not wait.
	DrainTimeout time.Duration `mapstructure:"drain_timeout"`
	// TLS towards the brokers; absent: plain text.
	TLS configoptional.Optional[configtls.ClientConfig] `mapstructure:"tls"`
	// SASL login; absent: none.
	SASL configoptional.Optional[SASL] `mapstructure:"sasl"`
}

// SASL is a login by name and password.
type SASL struct {
	// Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
	Mechanism string              `mapstructure:"mechanism"`
	Username  string              `mapstructure:"username"`
	Password  configopaque.String `mapstructure:"password"`
}

func defaultConfig() *Config {
	return &Config{
		Brokers:        []string{"localhost:9092"},
		Topic:          "otlp_spans",
		GroupID:        "otel-collector",
		SessionTimeout: 10 * time.Second,
		CommitInterval: 100 * time.Millisecond,
		DrainTimeout:   5 * time.Second,
	}
}

// Validate is called by the collector.
func (c *Config) Validate() error {
	switch {
	case len(c.Brokers) == 0 || c.Topic == "" || c.GroupID == "":
		return errors.New("brokers, topic and group_id must be given")
	case c.SessionTimeout < shortestSession || c.SessionTimeout > longestSession:
		return fmt.Errorf("session_timeout is between %s and %s", shortestSession, longestSession)
	case c.CommitInterval <= 0:
		return errors.New("commit_interval must be above 0")
	case c.DrainTimeout < 0:
		return errors.New("drain_timeout must not be below 0")
	}
	if login := c.SASL.Get(); login != nil {
		_, err := login.mechanism()
		return err
	}
	return nil
}

func (s *SASL) mechanism() (sasl.Mechanism, error) {
	if s.Username == "" || s.Password == "" {
		return nil, errors.New("sasl: username and password must be given")
	}
	login := scram.Auth{User: s.Username, Pass: string(s.Password)}
	switch s.Mechanism {
	case "PLAIN":
		return plain.Auth{User: s.Username, Pass: string(s.Password)}.AsMechanism(), nil
	case "SCRAM-SHA-256":
		return login.AsSha256Mechanism(), nil
	case "SCRAM-SHA-512":
		return login.AsSha512Mechanism(), nil
	}
	return nil, fmt.Errorf("sasl: mechanism %q is none of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512", s.Mechanism)
}
