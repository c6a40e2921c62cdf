package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var variable = regexp.MustCompile(`\$\{env:([A-Za-z_][A-Za-z0-9_]*)`)

// emptyVariables are those that are set to nothing: they do not get the default behind `:-`.
func emptyVariables(files []string) []string {
	var problems []string
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // the collector says it
		}
		for number, line := range strings.Split(string(content), "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			for _, found := range variable.FindAllStringSubmatch(line, -1) {
				if value, set := os.LookupEnv(found[1]); set && value == "" {
					problems = append(problems, fmt.Sprintf("%s:%d: %s is set but empty: give it a value, or unset it to get the default", file, number+1, found[1]))
				}
			}
		}
	}
	return problems
}

// checker walks a configuration; where is the path of what it looks at: exporters::otlp_grpc/tempo::tls.
type checker struct {
	problems []string
	enabled  []string
	taken    map[string]string // address -> where
	only     bool              // nothing is started, and no directory made: root's would be closed to the collector's user
}

func (c *checker) wrong(where, format string, arguments ...any) {
	c.problems = append(c.problems, where+": "+fmt.Sprintf(format, arguments...))
}

// doubtful is what a check complains of and a start only says: one way in or out is shut until its file is renewed, and all others,
// with what waits in their queues, have nothing to do with it.
func (c *checker) doubtful(where, format string, arguments ...any) {
	if c.only {
		c.wrong(where, format, arguments...)
		return
	}
	fmt.Fprintf(os.Stderr, "otelcol-start: %s: %s\n", where, fmt.Sprintf(format, arguments...))
}

func check(config map[string]any, only bool) []string {
	service, _ := config["service"].(map[string]any)
	c := &checker{taken: map[string]string{}, only: only}
	for _, name := range list(service["extensions"]) {
		c.enabled = append(c.enabled, fmt.Sprint(name))
	}
	for _, kind := range []string{"extensions", "receivers", "processors", "connectors", "exporters"} {
		section, _ := config[kind].(map[string]any)
		for _, name := range sorted(section) {
			settings, _ := section[name].(map[string]any)
			where := kind + "::" + name
			if kind == "extensions" {
				if !slices.Contains(c.enabled, name) {
					c.wrong(where, "is defined, but not in service::extensions: nothing that names it can start")
					continue
				}
				c.extension(where, name, settings)
			}
			if kind == "processors" && (name == "k8s_attributes" || strings.HasPrefix(name, "k8s_attributes/")) {
				c.cluster(where, settings)
			}
			listens := kind == "receivers" || kind == "extensions" || name == "prometheus" || strings.HasPrefix(name, "prometheus/")
			c.walk(where, settings, listens)
		}
	}
	c.telemetry(service)
	return c.problems
}

func (c *checker) walk(where string, node map[string]any, listens bool) {
	c.pair(where, node)
	for _, key := range sorted(node) {
		inner := where + "::" + key
		switch value := node[key].(type) {
		case map[string]any:
			c.walk(inner, value, listens)
		case []any:
			for i, item := range value {
				if found, ok := item.(map[string]any); ok {
					c.walk(fmt.Sprintf("%s::%d", inner, i), found, listens)
				}
			}
		case string:
			c.value(inner, key, value, listens)
		case float64:
			c.duration(inner, key, value)
		}
	}
}

var duration = regexp.MustCompile(`(^|_)(timeout|interval|wait|elapsed_time|age|grace|expiration)$`)

// duration finds `5` where `5s` was meant: a number alone is nanoseconds, with which nothing is ever delivered, or all that is
// parked is discarded at once. The configuration is printed with every duration in nanoseconds; of CORS, max_age is seconds.
func (c *checker) duration(where, key string, value float64) {
	switch {
	case value == 0 && key == "metrics_flush_interval":
		c.wrong(where, "is 0: the collector would end by a panic")
	case value > 0 && value < float64(time.Millisecond) && duration.MatchString(key) && !strings.HasSuffix(where, "::cors::max_age"):
		c.wrong(where, "is %s: give a duration its unit, as in 5s", time.Duration(value))
	}
}

// grpcCompressions are those that an exporter by gRPC starts with; HTTP has more, and the collector validates for both.
var grpcCompressions = []string{"none", "gzip", "snappy", "zstd"}

func (c *checker) value(where, key, value string, listens bool) {
	switch {
	case value == "":
		return
	case key == "storage" || key == "authenticator" || (key == "id" && strings.Contains(where, "middlewares")):
		if !slices.Contains(c.enabled, value) {
			c.wrong(where, "%s is not in service::extensions", value)
		}
	case key == "ca_file" || key == "client_ca_file":
		c.authority(where, value)
	case key == "compression" && strings.HasPrefix(where, "exporters::otlp_grpc"):
		if !slices.Contains(grpcCompressions, value) {
			c.wrong(where, "%q is none of %s", value, strings.Join(grpcCompressions, ", "))
		}
	case key == "endpoint" && listens:
		c.listen(where, value)
	case strings.HasSuffix(key, "endpoint"):
		c.target(where, value)
	}
}

// pair looks at a certificate and its key together.
func (c *checker) pair(where string, node map[string]any) {
	certificate, _ := node["cert_file"].(string)
	key, _ := node["key_file"].(string)
	if certificate == "" && key == "" {
		return
	}
	found, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		c.wrong(where, "%v", err)
		return
	}
	if leaf, err := x509.ParseCertificate(found.Certificate[0]); err == nil && time.Now().After(leaf.NotAfter) {
		c.doubtful(where, "the certificate %s has expired on %s", certificate, leaf.NotAfter.Format(time.DateOnly))
	}
}

func (c *checker) authority(where, path string) {
	content, err := os.ReadFile(path)
	if err != nil {
		c.wrong(where, "%v", err)
		return
	}
	if block, _ := pem.Decode(content); block == nil || !x509.NewCertPool().AppendCertsFromPEM(content) {
		c.wrong(where, "%s holds no certificate", path)
	}
}

func (c *checker) listen(where, address string) {
	if !validPort(address) {
		c.wrong(where, "%q is no host:port with a port from 0 to 65535", address)
		return
	}
	if other, ok := c.taken[address]; ok && !strings.HasSuffix(address, ":0") {
		c.wrong(where, "%s is the address of %s as well", address, other)
		return
	}
	c.taken[address] = where
	listener, err := net.Listen("tcp", address)
	if err != nil {
		c.wrong(where, "%v", err)
		return
	}
	_ = listener.Close()
}

func validPort(address string) bool {
	_, port, err := net.SplitHostPort(address)
	number, wrong := strconv.Atoi(port)
	return err == nil && wrong == nil && number >= 0 && number <= 65535
}

// resolved is an address that gRPC finds by a scheme of its own, or a socket; the collector has validated it.
var resolved = regexp.MustCompile(`^(dns|passthrough|unix|unix-abstract):`)

// target is an address that is dialled; whether anybody answers there is nobody's business at a start.
func (c *checker) target(where, address string) {
	if resolved.MatchString(address) && strings.HasPrefix(where, "exporters::otlp_grpc") {
		return
	}
	if strings.Contains(address, "://") {
		parsed, err := url.Parse(address)
		if err != nil || parsed.Host == "" || (parsed.Port() != "" && !validPort(parsed.Host)) {
			c.wrong(where, "%q is no URL with a host", withoutLogin(address))
		}
		return
	}
	if !validPort(address) {
		c.wrong(where, "%q is neither host:port nor a URL", address)
	}
}

// withoutLogin is an address as a log may hold it.
func withoutLogin(address string) string {
	scheme, rest, _ := strings.Cut(address, "://")
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		rest = "***" + rest[at:]
	}
	return scheme + "://" + rest
}

func (c *checker) telemetry(service map[string]any) {
	telemetry, _ := service["telemetry"].(map[string]any)
	metrics, _ := telemetry["metrics"].(map[string]any)
	for i, reader := range list(metrics["readers"]) {
		found, _ := reader.(map[string]any)
		for _, key := range []string{"pull", "exporter", "prometheus"} {
			found, _ = found[key].(map[string]any)
		}
		if host, ok := found["host"].(string); ok {
			c.listen(fmt.Sprintf("service::telemetry::metrics::readers::%d", i), net.JoinHostPort(host, fmt.Sprint(found["port"])))
		}
	}
}

// extension looks at what an extension keeps or reads on disk.
func (c *checker) extension(where, name string, settings map[string]any) {
	kind, _, _ := strings.Cut(name, "/")
	switch kind {
	case "file_storage", "park", "ledger":
		directory, _ := settings["directory"].(string)
		create, given := settings["create_directory"].(bool)
		c.directory(where, directory, create || !given)
		switch kind {
		case "file_storage":
			c.problems = append(c.problems, setAside(where, directory)...)
		case "ledger":
			c.ledger(where, directory)
		}
	case "bearertokenauth":
		path, _ := settings["filename"].(string)
		if path == "" {
			return
		}
		if content, err := os.ReadFile(path); err != nil {
			c.wrong(where, "%v", err)
		} else if strings.TrimSpace(string(content)) == "" {
			c.wrong(where, "the token file %s is empty", path)
		}
	}
}

func (c *checker) directory(where, path string, create bool) {
	if path == "" {
		return
	}
	there := path
	if create && c.only {
		there = existing(path)
	} else if create {
		if err := os.MkdirAll(path, 0o700); err != nil {
			c.wrong(where, "%v", err)
			return
		}
	}
	probe, err := os.CreateTemp(there, ".probe-")
	if err != nil {
		c.wrong(where, "%v", err)
		return
	}
	_, err = probe.Write(make([]byte, 64*1024))
	err = errors.Join(err, probe.Close(), os.Remove(probe.Name()))
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		// Refused also where the queue waits to be sent: without room to write down what it sends it forgets a part of it.
		c.wrong(where, "the disk of %s is full: make room first, for a queue that cannot write loses what it sends", path)
	} else if err != nil {
		c.wrong(where, "%v", err)
	}
}

// existing is the directory that is there, on the way to one that need not be.
func existing(path string) string {
	for {
		_, err := os.Stat(path)
		above := filepath.Dir(path)
		if !errors.Is(err, os.ErrNotExist) || above == path {
			return path
		}
		path = above
	}
}

func list(value any) []any {
	found, _ := value.([]any)
	return found
}

func sorted(node map[string]any) []string {
	keys := make([]string, 0, len(node))
	for key := range node {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
