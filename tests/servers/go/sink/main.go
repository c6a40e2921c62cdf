// Program sink is a recording OTLP receiver (gRPC and HTTP) that answers as badly as a drill tells it to.
//
//	POST /control   {"code": 14, "status": 503, "delay_ms": 0, "store": false, "garbage": false, "partial": 0, "retry_after": 0}
//	GET  /stats     {"requests", "spans", "distinct", "duplicates", "repeated"}: repeated are requests of which a span came again
//	GET  /ids       one line a span: its id in hex and how often it was stored
package main

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// mood is how every request is answered from now on.
type mood struct {
	Code    uint32 `json:"code"`     // gRPC status; 0 accepts
	Status  int    `json:"status"`   // HTTP status; 0 accepts
	DelayMS int    `json:"delay_ms"` // before the answer
	Store   bool   `json:"store"`    // stored even though the answer is a refusal or never comes in time
	Garbage bool   `json:"garbage"`  // an answer that is no protobuf
	Partial int    `json:"partial"`  // spans of each request that a partial success rejects
	Only    int    `json:"only"`     // for so many requests, then all is well again; 0 for ever
}

// stored is how often a span came, and with which request first.
type stored struct{ times, first int }

type sink struct {
	mu       sync.Mutex
	mood     mood
	requests int
	spans    map[[8]byte]stored
	repeated map[int]bool // numbers of requests of which a span came again
	token    string
	file     *os.File // every stored id, so that a killed sink has not forgotten
}

// receive records one request and says how to answer it.
func (s *sink) receive(ctx context.Context, body []byte) mood {
	s.mu.Lock()
	now := s.mood
	s.requests++
	if now.Only > 0 {
		s.mood.Only--
		if s.mood.Only == 0 {
			s.mood = mood{}
		}
	}
	if (now.Code == 0 && now.Status == 0) || now.Store {
		left, ids := now.Partial, []byte(nil)
		each(body, 1, func(group []byte) {
			each(group, 2, func(scope []byte) {
				each(scope, 2, func(span []byte) {
					if left > 0 {
						left--
						return
					}
					each(span, 2, func(id []byte) {
						if len(id) == 8 {
							before := s.spans[[8]byte(id)]
							if before.times > 0 {
								s.repeated[before.first] = true
							} else {
								before.first = s.requests
							}
							before.times++
							s.spans[[8]byte(id)] = before
							ids = append(ids, id...)
						}
					})
				})
			})
		})
		if _, err := s.file.Write(ids); err != nil {
			log.Fatal(err)
		}
	}
	s.mu.Unlock()
	if now.DelayMS > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(now.DelayMS) * time.Millisecond):
		}
	}
	return now
}

// remember reads what an earlier process stored.
func (s *sink) remember(path string) error {
	known, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for ; len(known) >= 8; known = known[8:] {
		before := s.spans[[8]byte(known)]
		before.times++
		s.spans[[8]byte(known)] = before
	}
	s.file, err = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	return err
}

func (m mood) reply() []byte {
	switch {
	case m.Garbage:
		return []byte("\xff\xff\xffnot protobuf")
	case m.Partial > 0:
		inner := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(m.Partial))
		return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), inner)
	}
	return nil
}

func (s *sink) allowed(authorization string) bool {
	if s.token == "" {
		return true
	}
	wanted, err := os.ReadFile(s.token)
	return err == nil && authorization == "Bearer "+strings.TrimSpace(string(wanted))
}

func (s *sink) stream(_ any, stream grpc.ServerStream) error {
	var body []byte
	if err := stream.RecvMsg(&body); err != nil {
		return err
	}
	headers, _ := metadata.FromIncomingContext(stream.Context())
	if !s.allowed(strings.Join(headers.Get("authorization"), "")) {
		return status.Error(codes.Unauthenticated, "the token has expired")
	}
	now := s.receive(stream.Context(), body)
	if now.Code != 0 {
		return status.Error(codes.Code(now.Code), "as told")
	}
	return stream.SendMsg(now.reply())
}

func (s *sink) export(w http.ResponseWriter, r *http.Request) {
	reader := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		reader = unzipped
	}
	body, err := io.ReadAll(reader)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	now := s.receive(r.Context(), body)
	w.Header().Set("Content-Type", "application/x-protobuf")
	if now.Status != 0 {
		w.WriteHeader(now.Status)
		return
	}
	_, _ = w.Write(now.reply())
}

func (s *sink) admin(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.URL.Path {
	case "/control":
		s.mood = mood{}
		if err := json.NewDecoder(r.Body).Decode(&s.mood); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	case "/stats":
		total := 0
		for _, span := range s.spans {
			total += span.times
		}
		_ = json.NewEncoder(w).Encode(map[string]int{"requests": s.requests, "spans": total, "distinct": len(s.spans), "duplicates": total - len(s.spans), "repeated": len(s.repeated)})
	case "/ids":
		for id, span := range s.spans {
			_, _ = fmt.Fprintln(w, hex.EncodeToString(id[:]), span.times)
		}
	}
}

// raw hands over the bytes of a message.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(message any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(message.([]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, message any) error {
	*message.(*[]byte) = data.Materialize()
	return nil
}

func each(message []byte, wanted protowire.Number, visit func([]byte)) {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return
		}
		message = message[size:]
		read := protowire.ConsumeFieldValue(number, kind, message)
		if read < 0 {
			return
		}
		if number == wanted && kind == protowire.BytesType {
			if content, ok := protowire.ConsumeBytes(message); ok >= 0 {
				visit(content)
			}
		}
		message = message[read:]
	}
}

func main() {
	grpcAddress := flag.String("grpc", "127.0.0.1:0", "address of OTLP/gRPC")
	httpAddress := flag.String("http", "127.0.0.1:0", "address of OTLP/HTTP and of the drill's questions")
	certificate := flag.String("cert", "", "certificate of the gRPC port, read at every handshake; none: plain text")
	key := flag.String("key", "", "its key")
	token := flag.String("token-file", "", "bearer token that gRPC senders must show, read at every request")
	path := flag.String("file", "sink.ids", "where stored ids are kept over restarts")
	flag.Parse()
	made := &sink{spans: map[[8]byte]stored{}, repeated: map[int]bool{}, token: *token}
	if err := made.remember(*path); err != nil {
		log.Fatal(err)
	}
	options := []grpc.ServerOption{grpc.UnknownServiceHandler(made.stream), grpc.ForceServerCodecV2(raw{})}
	if *certificate != "" {
		options = append(options, grpc.Creds(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				pair, err := tls.LoadX509KeyPair(*certificate, *key)
				return &pair, err
			}})))
	}
	listener, err := net.Listen("tcp", *grpcAddress)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(options...)
	go func() { log.Fatal(server.Serve(listener)) }()
	routes := http.NewServeMux()
	routes.HandleFunc("/control", made.admin)
	routes.HandleFunc("/stats", made.admin)
	routes.HandleFunc("/ids", made.admin)
	routes.HandleFunc("/", made.export)
	log.Fatal(http.ListenAndServe(*httpAddress, routes))
}
