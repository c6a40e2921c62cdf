package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// settle is how long new data may still come in after a balancer was told: the queues are looked at only then.
	settle = 5 * time.Second
	pause  = time.Second
)

// drain waits until no exporter's queue holds anything, at most that long, and then says what is left. It is what runs before
// the signal in an image without a shell; the queues are on disk, so what is left is late and not lost.
func drain(limit string) error {
	within, err := time.ParseDuration(limit)
	if err != nil {
		return fmt.Errorf("--drain takes a duration like 90s: %w", err)
	}
	end := time.Now().Add(within)
	time.Sleep(min(settle, within/4))
	for {
		left, err := queued()
		if err == nil && left == 0 {
			return nil
		}
		if time.Now().After(end) && err != nil {
			return fmt.Errorf("after %s nobody knows what is queued; it stays on the disk: %w", within, err)
		}
		if time.Now().After(end) {
			return fmt.Errorf("%.0f bytes are still queued after %s and stay on the disk", left, within)
		}
		time.Sleep(min(pause, time.Until(end)+time.Millisecond))
	}
}

// queued is the sum over the queues of the collector beside this program, read from its own /metrics.
func queued() (float64, error) {
	client := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{Proxy: nil}}
	answer, err := client.Get("http://" + telemetryAddress() + "/metrics")
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	sum := 0.0
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), "otelcol_exporter_queue_size{") {
			continue
		}
		fields := strings.Fields(lines.Text())
		value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			return 0, err
		}
		sum += value
	}
	return sum, lines.Err()
}

func telemetryAddress() string {
	host, port := os.Getenv("OTELCOL_TELEMETRY_HOST"), os.Getenv("OTELCOL_TELEMETRY_PORT")
	if host == "" || host == "0.0.0.0" {
		host = "127.0.0.1"
	}
	if port == "" {
		port = "8888"
	}
	return net.JoinHostPort(host, port)
}
