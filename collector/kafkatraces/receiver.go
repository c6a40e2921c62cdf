package kafkatraces

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"otel-distro.example/components/delivery"
	"otel-distro.example/components/ledger"
)

const (
	mostRecords = 5000            // of one poll
	mostFetched = 8 << 20         // bytes of one answer
	metadataAge = time.Minute     // until a new topic, or further partitions of it, are found
	commitTime  = 5 * time.Second // for one commit, and for those at the end
)

type place struct {
	topic     string
	partition int32
}

// tracesReceiver is one member of the group.
type tracesReceiver struct {
	config *Config
	set    receiver.Settings
	next   consumer.Traces
	report *receiverhelper.ObsReport
	client *kgo.Client
	book   func() *ledger.Book
	stop   context.CancelFunc
	loops  sync.WaitGroup
	watch  metric.Registration

	mu       sync.Mutex
	workers  map[place]*worker
	last     map[place]*window // of terms that have ended
	ends     map[place]int64   // of partitions, where the broker said so lately
	commits  sync.Mutex        // a commit that was written down before a partition went must not come behind its last one
	failing  bool              // the last commit has failed
	troubled bool              // the last poll was
}

// Start joins the group; brokers that are away are asked until they are there.
func (r *tracesReceiver) Start(ctx context.Context, host component.Host) error {
	r.book = ledger.Find(host)
	options, err := r.options(ctx)
	if err != nil {
		return err
	}
	if err := r.publish(); err != nil {
		return err
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	r.client = client
	running, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.loops.Go(func() { r.poll(running) })
	r.loops.Go(func() { r.commitRegularly(running) })
	r.loops.Go(func() { r.lookRegularly(running) })
	return nil
}

func (r *tracesReceiver) options(ctx context.Context) ([]kgo.Opt, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(r.config.Brokers...),
		kgo.ClientID("otelcol"),
		kgo.DisableClientMetrics(),
		kgo.ConsumeTopics(r.config.Topic),
		kgo.ConsumerGroup(r.config.GroupID),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(r.config.SessionTimeout),
		kgo.HeartbeatInterval(r.config.SessionTimeout / 4),
		kgo.FetchMaxBytes(mostFetched),
		kgo.MetadataMaxAge(metadataAge),
		kgo.DisableAutoCommit(),
		// No rebalance between a poll and the hand-over: a message must not reach the next term of its partition.
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(r.assigned),
		kgo.OnOffsetsFetched(r.restored),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) { r.leave(gone, true) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) { r.leave(gone, false) }),
	}
	if given := r.config.TLS.Get(); given != nil {
		loaded, err := given.LoadTLSConfig(ctx)
		if err != nil {
			return nil, err
		}
		if loaded != nil {
			options = append(options, kgo.DialTLSConfig(loaded))
		}
	}
	if login := r.config.SASL.Get(); login != nil {
		mechanism, err := login.mechanism()
		if err != nil {
			return nil, err
		}
		options = append(options, kgo.SASL(mechanism))
	}
	return options, nil
}

// Shutdown leaves the group: undecided traces go to the other members with their partitions. What is queued has time to leave.
func (r *tracesReceiver) Shutdown(ctx context.Context) error {
	if r.client == nil {
		return nil
	}
	r.stop()
	r.loops.Wait()
	if err := r.watch.Unregister(); err != nil {
		r.set.Logger.Warn("metrics of the lag", zap.Error(err))
	}
	r.client.CloseAllowingRebalance()
	drain(ctx, r.book(), r.config.DrainTimeout)
	return nil
}

func (r *tracesReceiver) poll(ctx context.Context) {
	for {
		fetches := r.client.PollRecords(ctx, mostRecords)
		if ctx.Err() != nil || fetches.IsClientClosed() {
			r.client.AllowRebalance()
			return
		}
		r.complain(fetches)
		fetches.EachPartition(func(found kgo.FetchTopicPartition) {
			if at := r.worker(place{found.Topic, found.Partition}); at != nil && len(found.Records) > 0 {
				at.give(found.Records)
			}
		})
		r.client.AllowRebalance()
	}
}

// complain says once that nothing can be read, until something could again.
func (r *tracesReceiver) complain(fetches kgo.Fetches) {
	err := fetches.Err()
	if err != nil && !r.troubled {
		r.set.Logger.Warn("cannot read for now", zap.Error(err))
	}
	r.troubled = err != nil
}

func (r *tracesReceiver) worker(at place) *worker {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.workers[at]
}

func (r *tracesReceiver) assigned(_ context.Context, client *kgo.Client, added map[string][]int32) {
	for topic, partitions := range added {
		for _, partition := range partitions {
			only := map[string][]int32{topic: {partition}}
			client.ResumeFetchPartitions(only) // paused in an earlier term, perhaps
			made := &worker{
				place: place{topic, partition}, next: r.next, report: r.report, window: &window{}, part: delivery.NewPartition(),
				log:  r.set.Logger.With(zap.String("topic", topic), zap.Int32("partition", partition)),
				more: make(chan struct{}, 1), ended: make(chan struct{}),
				fetched: func(pause bool) {
					if pause {
						client.PauseFetchPartitions(only)
					} else {
						client.ResumeFetchPartitions(only)
					}
				},
			}
			r.mu.Lock()
			r.workers[made.place] = made
			r.mu.Unlock()
			go made.run()
		}
	}
}

// restored is called before the first message of partitions that were assigned.
func (r *tracesReceiver) restored(_ context.Context, _ *kgo.Client, found *kmsg.OffsetFetchResponse) error {
	for _, topic := range found.Topics {
		for _, each := range topic.Partitions {
			r.restore(place{topic.Topic, each.Partition}, each.Offset, each.Metadata)
		}
	}
	for _, group := range found.Groups {
		for _, topic := range group.Topics {
			for _, each := range topic.Partitions {
				r.restore(place{topic.Topic, each.Partition}, each.Offset, each.Metadata)
			}
		}
	}
	return nil
}

func (r *tracesReceiver) restore(at place, offset int64, note *string) {
	found := r.worker(at)
	if found == nil || offset < 0 {
		return
	}
	var fates []fate
	if note != nil && *note != "" {
		decoded, err := decode(*note)
		if err != nil {
			found.log.Warn("the last commit says nothing on messages behind it: all are read again", zap.Error(err))
		}
		fates = decoded
	}
	r.mu.Lock()
	if before := r.last[at]; before != nil {
		fates = before.continued(offset, fates)
	}
	r.mu.Unlock()
	found.from, found.known = offset, slices.Clone(fates)
	found.window.restore(offset, fates)
}

// leave ends the terms of partitions; with the last commit where the group still takes ours.
func (r *tracesReceiver) leave(gone map[string][]int32, commit bool) {
	var ended []*worker
	for topic, partitions := range gone {
		for _, partition := range partitions {
			at := place{topic, partition}
			if found := r.worker(at); found != nil {
				found.part.Close() // all at once, for each may have to wait
				ended = append(ended, found)
			}
		}
	}
	for _, each := range ended {
		each.end()
	}
	r.commits.Lock()
	defer r.commits.Unlock()
	r.mu.Lock()
	for _, each := range ended {
		delete(r.workers, each.place)
		r.last[each.place] = each.window
	}
	r.mu.Unlock()
	if commit {
		r.commit(ended)
	}
}

func (r *tracesReceiver) commitRegularly(ctx context.Context) {
	ticker := time.NewTicker(r.config.CommitInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		r.commits.Lock()
		r.mu.Lock()
		live := slices.Collect(maps.Values(r.workers))
		r.mu.Unlock()
		r.commit(live)
		r.commits.Unlock()
	}
}

// commit writes what is settled: the offset, and in the commit's text what is settled behind it.
func (r *tracesReceiver) commit(workers []*worker) {
	offsets, notes := map[string]map[int32]kgo.EpochOffset{}, map[place]string{}
	for _, each := range workers {
		base, text, changed := each.window.note()
		if !changed {
			continue
		}
		if offsets[each.place.topic] == nil {
			offsets[each.place.topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[each.place.topic][each.place.partition] = kgo.EpochOffset{Epoch: -1, Offset: base}
		notes[each.place] = text
	}
	if len(notes) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitTime)
	defer cancel()
	r.client.CommitOffsetsSync(kgo.PreCommitFnContext(ctx, func(request *kmsg.OffsetCommitRequest) error {
		for i := range request.Topics {
			for j := range request.Topics[i].Partitions {
				each := &request.Topics[i].Partitions[j]
				each.Metadata = kmsg.StringPtr(notes[place{request.Topics[i].Topic, each.Partition}])
			}
		}
		return nil
	}), offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
		r.answered(workers, answer, err)
	})
}

// answered makes the next commit say again what this one could not.
func (r *tracesReceiver) answered(workers []*worker, answer *kmsg.OffsetCommitResponse, err error) {
	if err == nil {
		for _, topic := range answer.Topics {
			for _, each := range topic.Partitions {
				err = errors.Join(err, kerr.ErrorForCode(each.ErrorCode))
			}
		}
	}
	if err != nil && !r.failing {
		r.set.Logger.Warn("cannot commit for now", zap.Error(err))
	}
	r.failing = err != nil
	for _, each := range workers {
		each.part.Hold(r.failing)
		if r.failing {
			each.window.again()
		}
	}
}
