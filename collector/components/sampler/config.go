package sampler

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/tailsamplingprocessor"
)

// Config is contrib's, and is looked into before a start: contrib compiles patterns only when the sampler starts.
type Config struct {
	tailsamplingprocessor.Config `mapstructure:",squash"`
}

// Validate names each pattern of a string_attribute policy that is no regular expression.
func (c *Config) Validate() error {
	problems := []error{c.Config.Validate()}
	for _, policy := range c.PolicyCfgs {
		look := func(given tailsamplingprocessor.StringAttributeCfg) {
			problems = append(problems, patterns(policy.Name, given))
		}
		look(policy.StringAttributeCfg)
		look(policy.NotCfg.SubPolicy.StringAttributeCfg)
		inner := slices.Concat(policy.AndCfg.SubPolicyCfg, policy.DropCfg.SubPolicyCfg)
		for _, each := range policy.CompositeCfg.SubPolicyCfg {
			look(each.StringAttributeCfg)
			inner = append(inner, each.AndCfg.SubPolicyCfg...)
		}
		for _, each := range inner {
			look(each.StringAttributeCfg)
			look(each.NotCfg.SubPolicy.StringAttributeCfg)
		}
	}
	return errors.Join(problems...)
}

func patterns(policy string, given tailsamplingprocessor.StringAttributeCfg) error {
	if !given.EnabledRegexMatching {
		return nil
	}
	var problems []error
	for _, value := range given.Values {
		if _, err := regexp.Compile(value); err != nil {
			problems = append(problems, fmt.Errorf("policy %q: %w", policy, err))
		}
	}
	return errors.Join(problems...)
}
