// Program load sends spans as Python processes do: up to 512 a request, 15 attributes each, in traces of 10 to 200, one request at
// a time and one connection a process. Requests are encoded once; ids and times are renewed in place, so that sending costs little.
//
// On its standard output, at the end, what it was told as one JSON object.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"
)

type report struct {
	Seconds  float64        `json:"seconds"`
	Requests int            `json:"requests"`
	Spans    int            `json:"spans"`
	Accepted int            `json:"accepted"` // spans of the requests that were
	Bytes    int            `json:"bytes"`    // before compression
	Answers  map[string]int `json:"answers"`  // requests by what they were told
	P50      float64        `json:"p50_ms"`   // from a request to its answer
	P99      float64        `json:"p99_ms"`
	Max      float64        `json:"max_ms"`
}

func main() {
	endpoint := flag.String("endpoint", "http://127.0.0.1:4318", "URL of OTLP/HTTP, or host:port with -grpc")
	useGRPC := flag.Bool("grpc", false, "OTLP/gRPC")
	zip := flag.Bool("gzip", false, "compress")
	rate := flag.Float64("rate", 0, "spans a second over all processes; 0: as fast as they are taken")
	seconds := flag.Float64("seconds", 10, "how long; SIGTERM ends earlier")
	processes := flag.Int("processes", 32, "Python processes, each with a resource and a connection of its own")
	size := flag.Int("batch", 512, "spans a request")
	cycle := flag.Int("cycle", 4, "different requests a process")
	authority := flag.String("ca", "", "authority of the receiver's certificate; none: plain text")
	certificate := flag.String("cert", "", "own certificate")
	key := flag.String("key", "", "its key")
	token := flag.String("token", "", "bearer token")
	flag.Parse()
	secure, err := tlsConfig(*authority, *certificate, *key)
	if err != nil {
		log.Fatal(err)
	}
	to := target{*endpoint, *useGRPC, *zip, *token, secure}
	senders := make([]*process, *processes)
	ways := make([]way, *processes)
	for i := range senders {
		senders[i] = newProcess(i, *cycle, *size)
		if ways[i], err = to.open(); err != nil {
			log.Fatal(err)
		}
	}
	ctx, end := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer end()
	ctx, stop := context.WithTimeout(ctx, time.Duration(*seconds*float64(time.Second)))
	defer stop()
	told := &tally{answers: map[string]int{}}
	due := &pace{rate: *rate, began: time.Now()}
	seed := rand.Uint64()
	var running sync.WaitGroup
	for i, sender := range senders {
		running.Go(func() { sender.run(ctx, uint64(i), seed, ways[i], due, told) })
	}
	running.Wait()
	if err := json.NewEncoder(os.Stdout).Encode(told.report(time.Since(due.began))); err != nil {
		log.Fatal(err)
	}
}

func (t *tally) report(took time.Duration) report {
	slices.Sort(t.waits)
	at := func(share float64) float64 {
		if len(t.waits) == 0 {
			return 0
		}
		return float64(t.waits[int(share*float64(len(t.waits)-1))].Microseconds()) / 1000
	}
	return report{took.Seconds(), len(t.waits), t.spans, t.accepted, t.bytes, t.answers, at(0.5), at(0.99), at(1)}
}
