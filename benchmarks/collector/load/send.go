package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// way is how a process sends a request: what it was told ("200", "OK", a code), and whether that means it was accepted.
type way func(ctx context.Context, body []byte) (told string, accepted bool)

type target struct {
	endpoint    string // URL of OTLP/HTTP, host:port of OTLP/gRPC
	grpc, gzip  bool
	token       string
	credentials *tls.Config // nil: plain text
}

func tlsConfig(authority, certificate, key string) (*tls.Config, error) {
	if authority == "" {
		return nil, nil
	}
	known, err := os.ReadFile(authority)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(known) {
		return nil, fmt.Errorf("%s holds no certificate", authority)
	}
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// open gives one process its own connection, as Python's exporters have.
func (t target) open() (way, error) {
	if t.grpc {
		return t.openGRPC()
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		TLSClientConfig: t.credentials, MaxIdleConnsPerHost: 1, DisableCompression: true, WriteBufferSize: 64 << 10}}
	var zipped bytes.Buffer
	zip, err := gzip.NewWriterLevel(&zipped, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, body []byte) (string, bool) {
		if t.gzip {
			zipped.Reset()
			zip.Reset(&zipped)
			_, _ = zip.Write(body)
			_ = zip.Close()
			body = zipped.Bytes()
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.endpoint+"/v1/traces", bytes.NewReader(body))
		if err != nil {
			return err.Error(), false
		}
		request.Header.Set("Content-Type", "application/x-protobuf")
		if t.gzip {
			request.Header.Set("Content-Encoding", "gzip")
		}
		if t.token != "" {
			request.Header.Set("Authorization", "Bearer "+t.token)
		}
		answer, err := client.Do(request)
		if err != nil {
			return "no answer", false
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		return fmt.Sprint(answer.StatusCode), answer.StatusCode == http.StatusOK
	}, nil
}

func (t target) openGRPC() (way, error) {
	security := insecure.NewCredentials()
	if t.credentials != nil {
		security = credentials.NewTLS(t.credentials)
	}
	options := []grpc.CallOption{grpc.ForceCodecV2(raw{})}
	if t.gzip {
		options = append(options, grpc.UseCompressor("gzip"))
	}
	connection, err := grpc.NewClient("passthrough:///"+t.endpoint, grpc.WithTransportCredentials(security), grpc.WithDefaultCallOptions(options...))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, body []byte) (string, bool) {
		ctx, end := context.WithTimeout(ctx, 30*time.Second)
		defer end()
		if t.token != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+t.token)
		}
		var reply []byte
		err := connection.Invoke(ctx, "/opentelemetry.proto.collector.trace.v1.TraceService/Export", body, &reply)
		return status.Code(err).String(), err == nil
	}, nil
}

// raw passes bytes that are encoded already.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(message any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(message.([]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, message any) error {
	*message.(*[]byte) = data.Materialize()
	return nil
}

// pace gives each request its time: rate spans a second over all processes, or at once where rate is 0.
type pace struct {
	rate  float64
	began time.Time
	given atomic.Int64 // spans
}

// wait until the next `spans` are due; false when the time is over.
func (p *pace) wait(ctx context.Context, spans int) bool {
	before := p.given.Add(int64(spans)) - int64(spans)
	if p.rate > 0 {
		if left := time.Until(p.began.Add(time.Duration(float64(before) / p.rate * 1e9))); left > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(left):
			}
		}
	}
	return ctx.Err() == nil
}

// tally is what the senders were told.
type tally struct {
	mu       sync.Mutex
	answers  map[string]int // requests
	spans    int            // sent
	accepted int
	bytes    int
	waits    []time.Duration
}

func (t *tally) count(told string, accepted bool, spans, size int, waited time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answers[told]++
	t.spans += spans
	t.bytes += size
	t.waits = append(t.waits, waited)
	if accepted {
		t.accepted += spans
	}
}

// run sends a process's requests, one at a time, until the time is over. A refusal is followed by a pause, not by the same request.
func (p *process) run(ctx context.Context, number uint64, seed uint64, send way, due *pace, told *tally) {
	for turn := uint64(0); ; turn++ {
		for _, batch := range p.batches {
			if !due.wait(ctx, len(batch.spots)) {
				return
			}
			batch.renew(seed, (number<<32|turn)*uint64(p.spans))
			began := time.Now()
			answer, accepted := send(context.WithoutCancel(ctx), batch.body)
			told.count(answer, accepted, len(batch.spots), len(batch.body), time.Since(began))
			if !accepted {
				time.Sleep(100 * time.Millisecond)
			}
		}
	}
}

// renew gives every span new ids, and times that end now.
func (m *message) renew(seed, first uint64) {
	now := time.Now().UnixNano()
	little, big := binary.LittleEndian, binary.BigEndian
	for _, each := range m.spots {
		trace := seed ^ mixed(first+uint64(each.of))
		big.PutUint64(m.body[each.trace:], mixed(trace))
		big.PutUint64(m.body[each.trace+8:], trace)
		big.PutUint64(m.body[each.span:], seed^mixed(first+uint64(each.own)))
		if each.parent >= 0 {
			big.PutUint64(m.body[each.parent:], seed^mixed(first+uint64(each.above)))
		}
		little.PutUint64(m.body[each.start:], uint64(now-each.nanoseconds))
		little.PutUint64(m.body[each.end:], uint64(now))
	}
}
