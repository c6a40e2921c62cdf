package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// attribute is one of the 15 of a span.
type attribute struct {
	key   string
	value any
}

// kinds of spans as Python's instrumentations make them: how often, which scope, and 15 attributes each.
type kind struct {
	share int
	scope string
	kind  uint64 // SpanKind
	make  func(random *rand.Rand) (name string, attributes []attribute)
}

var kinds = []kind{
	{40, "opentelemetry.instrumentation.sqlalchemy", 3, statement},
	{30, "opentelemetry.instrumentation.redis", 3, command},
	{15, "opentelemetry.instrumentation.httpx", 3, call},
	{15, "shop.work", 1, work},
}

const (
	serverScope = "opentelemetry.instrumentation.fastapi"
	serverKind  = 2
)

var (
	routes = []string{"/orders/{order_id}", "/orders", "/carts/{cart_id}/items", "/customers/{customer_id}/addresses", "/health/ready",
		"/search", "/products/{product_id}", "/products/{product_id}/reviews", "/payments/{payment_id}/capture", "/sessions"}
	methods = []string{"GET", "GET", "GET", "POST", "PUT"}
	tables  = []string{"orders", "order_lines", "customers", "addresses", "products", "stock_levels", "payments", "sessions"}
	verbs   = []string{"GET", "SET", "MGET", "HGETALL", "EXPIRE"}
	peers   = []string{"inventory", "payments", "shipping", "recommendations"}
	tasks   = []string{"price_basket", "render_receipt", "check_permissions", "rank_results"}
)

func pick[T any](random *rand.Rand, from []T) T { return from[random.IntN(len(from))] }

func request(random *rand.Rand) (string, []attribute) {
	method, route, status := pick(random, methods), pick(random, routes), 200
	if random.IntN(50) == 0 {
		status = 500
	}
	return method + " " + route, []attribute{
		{"http.request.method", method}, {"http.route", route}, {"url.path", fmt.Sprintf("/api/v1/objects/%d", random.IntN(1e6))},
		{"url.scheme", "https"}, {"url.query", fmt.Sprintf("page=%d&limit=50", random.IntN(40))},
		{"http.response.status_code", status}, {"server.address", "shop.example.com"}, {"server.port", 443},
		{"client.address", fmt.Sprintf("10.%d.%d.%d", random.IntN(256), random.IntN(256), random.IntN(256))},
		{"network.peer.address", "10.1.0.7"}, {"network.peer.port", 30_000 + random.IntN(30_000)},
		{"network.protocol.version", "1.1"}, {"http.response.body.size", random.IntN(40_000)},
		{"user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"},
		{"request.id", fmt.Sprintf("%016x%016x", random.Uint64(), random.Uint64())},
	}
}

func statement(random *rand.Rand) (string, []attribute) {
	table := pick(random, tables)
	return "SELECT " + table, []attribute{
		{"db.system.name", "postgresql"}, {"db.namespace", "shop"}, {"db.operation.name", "SELECT"}, {"db.collection.name", table},
		{"db.query.text", "SELECT " + table + ".id, " + table + ".created_at, " + table + ".updated_at, " + table + ".state, " + table +
			".total FROM " + table + " WHERE " + table + ".customer_id = ? AND " + table + ".deleted_at IS NULL AND " + table + ".state IN (?) ORDER BY " + table + ".created_at DESC LIMIT ?"},
		{"db.query.summary", "SELECT " + table}, {"server.address", "postgres-primary.shop.svc"}, {"server.port", 5432},
		{"network.peer.address", "10.1.4.12"}, {"network.peer.port", 5432}, {"db.response.returned_rows", random.IntN(50)},
		{"code.function.name", "shop.infrastructure.persistence.repositories." + table + ".Repository.find_recent_of_customer"}, {"code.line.number", random.IntN(400)},
		{"thread.id", 140_000_000_000 + random.IntN(1e6)}, {"thread.name", "MainThread"},
	}
}

func command(random *rand.Rand) (string, []attribute) {
	verb := pick(random, verbs)
	return verb, []attribute{
		{"db.system.name", "redis"}, {"db.namespace", "0"}, {"db.operation.name", verb}, {"db.query.text", verb + " basket:?:lines:?"},
		{"server.address", "redis-cache.shop.svc"}, {"server.port", 6379}, {"network.peer.address", "10.1.4.30"},
		{"network.peer.port", 6379}, {"network.transport", "tcp"}, {"cache.key.pattern", "basket:{customer_id}:lines:{revision}"},
		{"cache.hit", random.IntN(5) > 0}, {"code.function.name", "shop.infrastructure.caching.ReadThroughCache.get_or_load"}, {"code.line.number", random.IntN(400)},
		{"thread.id", 140_000_000_000 + random.IntN(1e6)}, {"thread.name", "MainThread"},
	}
}

func call(random *rand.Rand) (string, []attribute) {
	peer, method := pick(random, peers), pick(random, methods)
	return method, []attribute{
		{"http.request.method", method}, {"url.full", fmt.Sprintf("http://%s.shop.svc:8080/v1/objects/%d?expand=lines", peer, random.IntN(1e6))},
		{"server.address", peer + ".shop.svc"}, {"server.port", 8080}, {"http.response.status_code", 200},
		{"network.protocol.version", "1.1"}, {"network.peer.address", "10.1.9.3"}, {"network.peer.port", 8080},
		{"http.request.resend_count", 0}, {"url.scheme", "http"}, {"url.template", "/v1/objects/{id}"},
		{"code.function.name", "shop.infrastructure.clients." + peer + ".Client.fetch_with_lines"}, {"code.line.number", random.IntN(400)},
		{"thread.id", 140_000_000_000 + random.IntN(1e6)}, {"thread.name", "MainThread"},
	}
}

func work(random *rand.Rand) (string, []attribute) {
	task := pick(random, tasks)
	return task, []attribute{
		{"code.function.name", "shop.domain.services.CheckoutService." + task}, {"code.file.path", "/srv/shop/releases/2026.11.3/shop/domain/services.py"}, {"code.line.number", random.IntN(400)},
		{"thread.id", 140_000_000_000 + random.IntN(1e6)}, {"thread.name", "MainThread"}, {"shop.tenant", fmt.Sprintf("tenant-%d", random.IntN(40))},
		{"shop.basket.lines", random.IntN(30)}, {"shop.basket.total", fmt.Sprintf("%d.%02d", random.IntN(500), random.IntN(100))},
		{"shop.currency", "EUR"}, {"shop.experiment", "checkout-b"}, {"shop.region", "eu-central"}, {"shop.channel", "web"},
		{"shop.customer.tier", "gold"}, {"shop.flags", "fast-lane,new-search,split-payment,gift-wrap,one-page-checkout"}, {"shop.retry", false},
	}
}

// process is one Python process: its resource, and a cycle of requests whose ids are renewed at every turn.
type process struct {
	service  string
	resource message
	batches  []*message
	traces   int // of a cycle
	spans    int
}

func newProcess(number, cycle, size int) *process {
	random := rand.New(rand.NewPCG(uint64(number), 7))
	made := &process{service: fmt.Sprintf("shop-%s", []string{"api", "cart", "search", "checkout", "catalog", "accounts", "worker", "admin"}[number%8])}
	for _, each := range []attribute{
		{"service.name", made.service}, {"service.namespace", "shop"}, {"service.version", "2026.11.3"},
		{"service.instance.id", fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", random.Uint32(), random.IntN(1<<16), random.IntN(1<<12), random.IntN(1<<12), random.Int64N(1<<48))},
		{"deployment.environment.name", "production"}, {"host.name", fmt.Sprintf("node-%d", number/4)}, {"process.pid", 100 + number},
		{"process.runtime.name", "cpython"}, {"process.runtime.version", "3.13.0"}, {"telemetry.sdk.language", "python"},
		{"telemetry.sdk.name", "opentelemetry"}, {"telemetry.sdk.version", "1.45.1"}, {"telemetry.distro.name", "otel-distro"},
		{"k8s.pod.name", fmt.Sprintf("%s-7d9c5b6f4-%05d", made.service, number)}, {"k8s.namespace.name", "shop"},
	} {
		made.resource.attribute(1, each.key, each.value)
	}
	flow := made.flow(random, cycle*size)
	for batch := range slices.Chunk(flow, size) {
		made.batches = append(made.batches, made.encoded(random, batch))
	}
	return made
}

// planned is a span before it is encoded.
type planned struct{ trace, own, above int } // above is -1 for the server span

// flow is the order in which a process's spans end: a few requests at once, children before their server span.
func (p *process) flow(random *rand.Rand, total int) []planned {
	var found []planned
	var open [][]planned
	for len(found) < total {
		for len(open) < 4 && p.spans < total {
			// 10 to 200 spans a trace, small ones more often (log-uniform); the last takes what is left.
			size := min(int(10*math.Pow(20, random.Float64())), total-p.spans)
			if total-p.spans-size < 10 {
				size = total - p.spans
			}
			trace := make([]planned, 0, size)
			root := p.spans + size - 1
			for own := p.spans; own < root; own++ {
				above := root
				if own+1 < root && random.IntN(3) == 0 {
					above = own + 1 // a call within a call
				}
				trace = append(trace, planned{p.traces, own, above})
			}
			open = append(open, append(trace, planned{p.traces, root, -1}))
			p.spans += size
			p.traces++
		}
		i := random.IntN(len(open))
		found = append(found, open[i][0])
		if open[i] = open[i][1:]; len(open[i]) == 0 {
			open = slices.Delete(open, i, i+1)
		}
	}
	return found
}

// encoded is the request of one batch: one resource, the spans by scope, as Python's exporters group them.
func (p *process) encoded(random *rand.Rand, batch []planned) *message {
	scopes := map[string]*message{}
	for _, each := range batch {
		scope, inner := p.span(random, each)
		if scopes[scope] == nil {
			scopes[scope] = &message{}
			var about message
			about.text(1, scope)
			about.text(2, "0.66b1")
			scopes[scope].bytes(1, about.body)
		}
		scopes[scope].child(2, inner)
	}
	var group, whole message
	group.bytes(1, p.resource.body)
	for _, scope := range append([]kind{{scope: serverScope}}, kinds...) {
		if inner := scopes[scope.scope]; inner != nil {
			group.child(2, inner)
		}
	}
	whole.child(1, &group)
	return &whole
}

func (p *process) span(random *rand.Rand, each planned) (scope string, encoded *message) {
	chosen := kind{0, serverScope, serverKind, request}
	if each.above >= 0 {
		chosen = pick(random, weighted)
	}
	name, attributes := chosen.make(random)
	made := &message{}
	at := spot{parent: -1, of: each.trace, own: each.own, above: each.above, nanoseconds: int64(1e5 * math.Exp(4*random.Float64()))}
	at.trace = made.bytes(1, make([]byte, 16))
	at.span = made.bytes(2, make([]byte, 8))
	if each.above >= 0 {
		at.parent = made.bytes(4, make([]byte, 8))
	}
	made.text(5, name)
	made.number(6, chosen.kind)
	at.start = made.fixed(7, 0)
	at.end = made.fixed(8, 0)
	failed := false
	for _, each := range attributes {
		made.attribute(9, each.key, each.value)
		failed = failed || each.key == "http.response.status_code" && each.value == 500
	}
	if failed {
		var status message
		status.number(3, 2)
		made.bytes(15, status.body)
	}
	made.spots = []spot{at}
	return chosen.scope, made
}

var weighted = func() (all []kind) {
	for _, each := range kinds {
		all = append(all, slices.Repeat([]kind{each}, each.share)...)
	}
	return all
}()
