// franz-go through the plan of ../README.md. Arguments: HOST:PORT TOPIC. With "GROUP PROTOCOL FILE" behind them
// it is a member that is killed: see ../kills.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	partitions = 4
	count      = 14
	patience   = 15 * time.Second
)

var (
	sizes = []int{1, 17, 100, 1_000, 5_000, 40_000, 200_000}
	noise = makeNoise(256 * 1024)
)

type sentRecord struct{ key, value []byte }

type interop struct {
	bootstrap, topic string
	admin            *kadm.Client
	steps            []string
	// Every record sent to each partition; its index is the offset it must get.
	sent           map[int32][]sentRecord
	firstTimestamp int64
}

func main() {
	t := &interop{
		bootstrap:      os.Args[1],
		topic:          os.Args[2],
		sent:           map[int32][]sentRecord{},
		firstTimestamp: time.Now().UnixMilli() - 60_000,
	}
	for p := range int32(partitions) {
		t.sent[p] = nil
	}
	if len(os.Args) > 3 {
		fmt.Fprintln(os.Stderr, t.readNumbers(os.Args[3], os.Args[4], os.Args[5]))
		os.Exit(1)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	if err := t.run(ctx); err != nil {
		fmt.Printf("FAIL franz-go after %v: %v\n", t.steps, err)
		os.Exit(1)
	}
	fmt.Println("PASS franz-go", strings.Join(t.steps, " "))
}

func (t *interop) run(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(t.bootstrap))
	if err != nil {
		return err
	}
	defer client.Close()
	t.admin = kadm.NewClient(client)

	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"create", t.create},
		{"list describe", t.describe},
		{"describe-configs alter-configs", t.configs},
	} {
		if err := t.step(ctx, step.name, step.do); err != nil {
			return err
		}
	}

	all, plain := kgo.RequiredAcks(kgo.AllISRAcks()), kgo.DisableIdempotentWrite()
	for _, phase := range []struct {
		name    string
		options []kgo.Opt
	}{
		{"none", []kgo.Opt{all, plain, kgo.ProducerBatchCompression(kgo.NoCompression())}},
		{"gzip", []kgo.Opt{all, plain, kgo.ProducerBatchCompression(kgo.GzipCompression())}},
		{"snappy", []kgo.Opt{all, plain, kgo.ProducerBatchCompression(kgo.SnappyCompression())}},
		{"lz4", []kgo.Opt{all, plain, kgo.ProducerBatchCompression(kgo.Lz4Compression())}},
		{"zstd", []kgo.Opt{all, plain, kgo.ProducerBatchCompression(kgo.ZstdCompression())}},
		{"acks1", []kgo.Opt{kgo.RequiredAcks(kgo.LeaderAck()), plain}},
		{"acks0", []kgo.Opt{kgo.RequiredAcks(kgo.NoAck()), plain}},
		{"idempotent", []kgo.Opt{all}},
	} {
		produce := func(ctx context.Context) error { return t.produce(ctx, phase.name, phase.options...) }
		if err := t.step(ctx, phase.name, produce); err != nil {
			return err
		}
	}

	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"earliest latest", t.ends},
		{"by-timestamp", func(ctx context.Context) error { return t.byTimestamp(ctx, 5) }},
		{"by-timestamp-compressed", func(ctx context.Context) error { return t.byTimestamp(ctx, 33) }},
		{"consume", func(ctx context.Context) error { return t.consume(ctx, 0, 0, 1, 2, 3) }},
		{"group", func(ctx context.Context) error { return t.group(ctx, "classic") }},
		{"group-848", func(ctx context.Context) error { return t.group(ctx, "consumer") }},
		{"delete-records", t.deleteRecords},
		{"add-partitions", t.addPartitions},
		{"delete-topic", t.deleteTopic},
	} {
		if err := t.step(ctx, step.name, step.do); err != nil {
			return err
		}
	}
	return nil
}

func (t *interop) step(ctx context.Context, name string, do func(context.Context) error) error {
	if err := do(ctx); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	t.steps = append(t.steps, name)
	return nil
}

func (t *interop) create(ctx context.Context) error {
	retention := "86400000"
	config := map[string]*string{"retention.ms": &retention}
	if _, err := t.admin.CreateTopic(ctx, partitions, 1, config, t.topic); err != nil {
		return err
	}
	if _, err := t.admin.CreateTopic(ctx, partitions, 1, config, t.topic); !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("creating it twice: %v", err)
	}
	return nil
}

func (t *interop) describe(ctx context.Context) error {
	topics, err := t.admin.ListTopics(ctx)
	if err != nil {
		return err
	}
	if !topics.Has(t.topic) {
		return errors.New("the new topic is not listed")
	}
	for p, detail := range topics[t.topic].Partitions {
		if detail.Err != nil || detail.Leader < 0 {
			return fmt.Errorf("partition %d has no leader: %+v", p, detail)
		}
	}
	return t.waitForPartitions(ctx, partitions)
}

func (t *interop) configs(ctx context.Context) error {
	if got, err := t.retention(ctx); err != nil || got != "86400000" {
		return fmt.Errorf("describe configs lost what create set: %q, %v", got, err)
	}
	retention := "172800000"
	alter := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &retention}}
	answers, err := t.admin.AlterTopicConfigs(ctx, alter, t.topic)
	if err != nil {
		return err
	}
	if _, err := answers.On(t.topic, func(r *kadm.AlterConfigsResponse) error { return r.Err }); err != nil {
		return err
	}
	return waitUntil("retention.ms altered", func() (bool, error) {
		got, err := t.retention(ctx)
		return got == retention, err
	})
}

func (t *interop) retention(ctx context.Context) (string, error) {
	described, err := t.admin.DescribeTopicConfigs(ctx, t.topic)
	if err != nil {
		return "", err
	}
	topic, err := described.On(t.topic, func(r *kadm.ResourceConfig) error { return r.Err })
	if err != nil {
		return "", err
	}
	for _, config := range topic.Configs {
		if config.Key == "retention.ms" {
			return config.MaybeValue(), nil
		}
	}
	return "", errors.New("no retention.ms among the configs")
}

// produce sends one phase to every partition and checks each offset that comes back.
func (t *interop) produce(ctx context.Context, phase string, options ...kgo.Opt) error {
	client, err := kgo.NewClient(append(options,
		kgo.SeedBrokers(t.bootstrap),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(20*time.Millisecond),
	)...)
	if err != nil {
		return err
	}
	defer client.Close()

	var records []*kgo.Record
	for seq := range count {
		for p := range t.sent {
			made := makeRecord(phase, p, seq)
			records = append(records, &kgo.Record{
				Topic: t.topic, Partition: p, Key: made.key, Value: made.value,
				Timestamp: time.UnixMilli(t.firstTimestamp + int64(len(t.sent[p]))),
			})
			t.sent[p] = append(t.sent[p], made)
		}
	}
	// Not the client's own delivery timeout: it counts from a record's timestamp, and ours lie in the past.
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, result := range client.ProduceSync(within, records...) {
		r := result.Record
		if result.Err != nil {
			return result.Err
		}
		expected := r.Timestamp.UnixMilli() - t.firstTimestamp
		if phase != "acks0" && r.Offset != expected {
			return fmt.Errorf("%s got offset %d, expected %d", r.Key, r.Offset, expected)
		}
	}
	// Nobody acknowledges acks=0, so wait: what follows must come after it.
	return waitUntil("all of "+phase+" arrived", func() (bool, error) {
		ends, err := t.admin.ListEndOffsets(ctx, t.topic)
		for p := range t.sent {
			end, _ := ends.Lookup(t.topic, p)
			if end.Offset != int64(len(t.sent[p])) {
				return false, err
			}
		}
		return true, err
	})
}

func (t *interop) ends(ctx context.Context) error {
	starts, err := t.admin.ListStartOffsets(ctx, t.topic)
	if err != nil {
		return err
	}
	ends, err := t.admin.ListEndOffsets(ctx, t.topic)
	if err != nil {
		return err
	}
	for p, sent := range t.sent {
		start, _ := starts.Lookup(t.topic, p)
		end, _ := ends.Lookup(t.topic, p)
		if start.Err != nil || start.Offset != 0 || end.Err != nil || end.Offset != int64(len(sent)) {
			return fmt.Errorf("partition %d: start %+v, end %+v, sent %d", p, start, end, len(sent))
		}
	}
	return nil
}

func (t *interop) byTimestamp(ctx context.Context, n int64) error {
	found, err := t.admin.ListOffsetsAfterMilli(ctx, t.firstTimestamp+n, t.topic)
	if err != nil {
		return err
	}
	at, _ := found.Lookup(t.topic, 1)
	if at.Err != nil || at.Offset != n {
		return fmt.Errorf("found %+v, but the record of that time has offset %d", at, n)
	}
	return nil
}

// consume reads the partitions from the beginning by assignment: every record from start on, in order,
// once, byte for byte.
func (t *interop) consume(ctx context.Context, start int64, from ...int32) error {
	assigned, next, left := map[int32]kgo.Offset{}, map[int32]int64{}, 0
	for _, p := range from {
		assigned[p] = kgo.NewOffset().AtStart()
		next[p] = start
		left += len(t.sent[p]) - int(start)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(t.bootstrap),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{t.topic: assigned}),
	)
	if err != nil {
		return err
	}
	defer client.Close()

	poll := func(patience time.Duration) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		for _, r := range fetches.Records() {
			if r.Offset != next[r.Partition] {
				return fmt.Errorf("partition %d: read offset %d where %d belongs", r.Partition, r.Offset, next[r.Partition])
			}
			if r.Offset >= int64(len(t.sent[r.Partition])) {
				return fmt.Errorf("partition %d: offset %d was never sent", r.Partition, r.Offset)
			}
			want := t.sent[r.Partition][r.Offset]
			if !bytes.Equal(r.Key, want.key) || !bytes.Equal(r.Value, want.value) {
				return fmt.Errorf("partition %d offset %d: read %.60q, sent %.60q; they differ", r.Partition, r.Offset, r.Key, want.key)
			}
			next[r.Partition]++
			left--
		}
		return nil
	}
	for deadline := time.Now().Add(2 * patience); left > 0; {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d records did not come; next offsets %v", left, next)
		}
		if err := poll(time.Second); err != nil {
			return err
		}
	}
	return poll(500 * time.Millisecond) // a record delivered twice at the end would show here
}

// group has two members share the topic; when one has left, the other has it all; offsets and the group
// can be seen.
func (t *interop) group(ctx context.Context, protocol string) error {
	name := t.topic + "-" + protocol
	seen := map[int32]map[int64]bool{}
	for p := range t.sent {
		seen[p] = map[int64]bool{}
	}
	first, err := t.join(name, protocol)
	if err != nil {
		return err
	}
	defer first.close()
	second, err := t.join(name, protocol)
	if err != nil {
		return err
	}
	defer second.close()
	if err := t.share(ctx, seen, map[*member]int{first: 2, second: 2}); err != nil {
		return err
	}
	if err := t.described(ctx, name, protocol); err != nil {
		return err
	}
	second.close()
	if err := t.produce(ctx, "taken-over-"+protocol); err != nil {
		return err
	}
	if err := t.share(ctx, seen, map[*member]int{first: 4}); err != nil {
		return err
	}
	first.close()
	committed, err := t.admin.FetchOffsets(ctx, name)
	if err != nil {
		return err
	}
	for p, sent := range t.sent {
		if at, _ := committed.Lookup(t.topic, p); at.At != int64(len(sent)) {
			return fmt.Errorf("partition %d: committed %+v, sent %d", p, at, len(sent))
		}
	}
	listed, err := t.admin.ListGroups(ctx)
	if _, ok := listed[name]; err != nil || !ok {
		return fmt.Errorf("%s is not among %v, %v", name, listed, err)
	}
	deleted, err := t.admin.DeleteGroups(ctx, name)
	if err != nil {
		return err
	}
	return deleted[name].Err
}

// described is nil if the group is told as stable and with two members.
func (t *interop) described(ctx context.Context, name, protocol string) error {
	if protocol == "consumer" {
		described, err := t.admin.DescribeConsumerGroups(ctx, name)
		if err != nil || len(described[name].Members) != 2 || described[name].State != "Stable" {
			return fmt.Errorf("described as %+v, %v", described, err)
		}
		return nil
	}
	described, err := t.admin.DescribeGroups(ctx, name)
	if err != nil || len(described[name].Members) != 2 || described[name].State != "Stable" {
		return fmt.Errorf("described as %+v, %v", described, err)
	}
	return nil
}

type member struct {
	client *kgo.Client
	// How many partitions it has.
	owns atomic.Int32
}

func (m *member) close() {
	m.client.Close()
}

func (t *interop) join(group, protocol string) (*member, error) {
	m := &member{}
	count := func(partitions map[string][]int32) (n int32) {
		for _, of := range partitions {
			n += int32(len(of))
		}
		return n
	}
	lost := func(_ context.Context, _ *kgo.Client, gone map[string][]int32) { m.owns.Add(-count(gone)) }
	options := []kgo.Opt{
		kgo.SeedBrokers(t.bootstrap),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(t.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(6*time.Second),
		kgo.HeartbeatInterval(time.Second),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, got map[string][]int32) {
			m.owns.Add(count(got))
		}),
		kgo.OnPartitionsRevoked(lost),
		kgo.OnPartitionsLost(lost),
	}
	if protocol == "consumer" {
		options = append(options, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	}
	client, err := kgo.NewClient(options...)
	m.client = client
	return m, err
}

// share polls until each member has so many partitions and all records were read.
func (t *interop) share(ctx context.Context, seen map[int32]map[int64]bool, sizes map[*member]int) error {
	for deadline := time.Now().Add(2 * patience); ; {
		shared := true
		for m, size := range sizes {
			polling, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			fetches := m.client.PollFetches(polling)
			cancel()
			if err := fetches.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
			for _, r := range fetches.Records() {
				seen[r.Partition][r.Offset] = true
			}
			// What a rebalance takes before it is committed, whoever has it then reads again.
			_ = m.client.CommitUncommittedOffsets(ctx)
			shared = shared && int(m.owns.Load()) == size
		}
		for p, sent := range t.sent {
			shared = shared && len(seen[p]) == len(sent)
		}
		if shared {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not shared after %v", 2*patience)
		}
	}
}

func (t *interop) deleteRecords(ctx context.Context) error {
	before := kadm.Offsets{}
	before.AddOffset(t.topic, 0, 10, -1)
	answers, err := t.admin.DeleteRecords(ctx, before)
	if err != nil {
		return err
	}
	if answer := answers[t.topic][0]; answer.Err != nil || answer.LowWatermark != 10 {
		return fmt.Errorf("answered %+v", answer)
	}
	return t.consume(ctx, 10, 0)
}

func (t *interop) addPartitions(ctx context.Context) error {
	answers, err := t.admin.UpdatePartitions(ctx, partitions+2, t.topic)
	if err != nil {
		return err
	}
	if err := answers[t.topic].Err; err != nil {
		return err
	}
	if err := t.waitForPartitions(ctx, partitions+2); err != nil {
		return err
	}
	t.sent[partitions+1] = nil
	if err := t.produce(ctx, "added"); err != nil {
		return err
	}
	return t.consume(ctx, 0, partitions+1)
}

func (t *interop) deleteTopic(ctx context.Context) error {
	if _, err := t.admin.DeleteTopic(ctx, t.topic); err != nil {
		return err
	}
	return waitUntil("topic gone", func() (bool, error) {
		topics, err := t.admin.ListTopics(ctx)
		return !topics.Has(t.topic), err
	})
}

func (t *interop) waitForPartitions(ctx context.Context, want int) error {
	return waitUntil(fmt.Sprintf("%d partitions", want), func() (bool, error) {
		topics, err := t.admin.ListTopics(ctx, t.topic)
		return len(topics[t.topic].Partitions) == want, err
	})
}

// waitUntil: some changes reach a client's view a moment later; a missing one must still fail in bounded time.
func waitUntil(what string, condition func() (bool, error)) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		holds, err := condition()
		if err != nil {
			return err
		}
		if holds {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not so after %v: %s", patience, what)
		}
	}
}

func makeRecord(phase string, partition int32, seq int) sentRecord {
	key := fmt.Appendf(nil, "franz-go|%s|%d|%d|", phase, partition, seq)
	size := sizes[seq%len(sizes)]
	body := noise[seq : seq+size]
	if seq%2 == 0 {
		body = bytes.Repeat(key, size/len(key)+1)
	}
	value := append(append([]byte{}, key...), body...)
	return sentRecord{key, value[:size]}
}

func makeNoise(length int) []byte {
	out, x := make([]byte, length), uint32(12345)
	for i := range out {
		x = x*1103515245 + 12345
		out[i] = byte(x >> 16)
	}
	return out
}
