import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * The Apache client through the plan of ../README.md. Arguments: HOST:PORT TOPIC. With
 * "GROUP PROTOCOL FILE" behind them it is a member that is killed: see ../kills.
 */
public final class Interop {
    private static final int PARTITIONS = 4;
    private static final int[] SIZES = {1, 17, 100, 1_000, 5_000, 40_000, 200_000};
    private static final int COUNT = 14;
    private static final long SECONDS = 15;
    private static final byte[] NOISE = noise(256 * 1024);

    private record Sent(byte[] key, byte[] value) {}

    private final String bootstrap;
    private final String topic;
    private final Admin admin;
    private final List<String> steps = new ArrayList<>();
    /** Every record sent to each partition; its index is the offset it must get. */
    private final Map<Integer, List<Sent>> sent = new TreeMap<>();
    private final long firstTimestamp = System.currentTimeMillis() - 60_000;

    private Interop(String bootstrap, String topic) {
        this.bootstrap = bootstrap;
        this.topic = topic;
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        for (int p = 0; p < PARTITIONS; p++) sent.put(p, new ArrayList<>());
    }

    public static void main(String[] args) {
        Interop interop = new Interop(args[0], args[1]);
        try {
            if (args.length > 2) interop.readNumbers(args[2], args[3], Path.of(args[4]));
            interop.run();
        } catch (Throwable error) {
            error.printStackTrace();
            System.out.println("FAIL java after " + interop.steps + ": " + error);
            System.exit(1);
        }
        System.out.println("PASS java " + String.join(" ", interop.steps));
        System.exit(0);
    }

    private void run() throws Exception {
        NewTopic created = new NewTopic(topic, Optional.of(PARTITIONS), Optional.empty())
            .configs(Map.of("retention.ms", "86400000"));
        get(admin.createTopics(List.of(created)).all());
        check(failure(admin.createTopics(List.of(created)).all()) instanceof TopicExistsException,
            "a topic could be created twice");
        steps.add("create");

        check(get(admin.listTopics().names()).contains(topic), "the new topic is not listed");
        TopicDescription description = describe();
        check(description.partitions().size() == PARTITIONS, "described with " + description);
        check(description.partitions().stream().allMatch(p -> p.leader() != null), "no leader: " + description);
        steps.add("list describe");

        check(config("retention.ms").equals("86400000"), "describe configs lost what create set");
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        get(admin.incrementalAlterConfigs(Map.of(resource, List.of(
            new AlterConfigOp(new ConfigEntry("retention.ms", "172800000"), AlterConfigOp.OpType.SET)))).all());
        waitUntil("retention.ms altered", () -> config("retention.ms").equals("172800000"));
        steps.add("describe-configs alter-configs");

        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            produce(codec, Map.of("acks", "all", "enable.idempotence", "false", "compression.type", codec));
        }
        produce("acks1", Map.of("acks", "1", "enable.idempotence", "false"));
        produce("acks0", Map.of("acks", "0", "enable.idempotence", "false"));
        // Nobody acknowledged those, so wait for them: what follows must come after them.
        waitUntil("acks=0 arrived", () -> {
            for (int p : sent.keySet()) if (offset(p, OffsetSpec.latest()) != sent.get(p).size()) return false;
            return true;
        });
        produce("idempotent", Map.of("enable.idempotence", "true", "compression.type", "lz4"));

        for (int p : sent.keySet()) {
            check(offset(p, OffsetSpec.earliest()) == 0, "earliest offset of partition " + p + " is not 0");
            check(offset(p, OffsetSpec.latest()) == sent.get(p).size(), "latest offset of partition " + p);
        }
        steps.add("earliest latest");
        byTimestamp("by-timestamp", 5);
        byTimestamp("by-timestamp-compressed", 33);

        compareAll(sent.keySet(), 0);
        steps.add("consume");

        group("classic");
        steps.add("group");
        group("consumer");
        steps.add("group-848");

        get(admin.deleteRecords(Map.of(new TopicPartition(topic, 0), RecordsToDelete.beforeOffset(10))).all());
        waitUntil("log start moved", () -> offset(0, OffsetSpec.earliest()) == 10);
        compareAll(List.of(0), 10);
        steps.add("delete-records");

        get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(PARTITIONS + 2))).all());
        waitUntil("partitions added", () -> describe().partitions().size() == PARTITIONS + 2);
        sent.put(PARTITIONS + 1, new ArrayList<>());
        produce("added", Map.of("acks", "all"));
        compareAll(List.of(PARTITIONS + 1), 0);
        steps.add("add-partitions");

        get(admin.deleteTopics(List.of(topic)).all());
        waitUntil("topic gone", () -> !get(admin.listTopics().names()).contains(topic));
        steps.add("delete-topic");
    }

    private void produce(String phase, Map<String, Object> settings) throws Exception {
        Map<String, Object> config = new HashMap<>(settings);
        config.put("bootstrap.servers", bootstrap);
        config.put("linger.ms", 20);
        config.put("request.timeout.ms", 10_000);
        config.put("delivery.timeout.ms", 15_000);
        List<Future<RecordMetadata>> acknowledged = new ArrayList<>();
        List<Long> expected = new ArrayList<>();
        try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (int seq = 0; seq < COUNT; seq++) {
                for (var partition : sent.entrySet()) {
                    Sent record = record(phase, partition.getKey(), seq);
                    long offset = partition.getValue().size();
                    partition.getValue().add(record);
                    acknowledged.add(producer.send(new ProducerRecord<>(
                        topic, partition.getKey(), firstTimestamp + offset, record.key, record.value)));
                    expected.add(offset);
                }
            }
            producer.flush();
            for (int i = 0; i < expected.size(); i++) {
                RecordMetadata got = acknowledged.get(i).get(SECONDS, TimeUnit.SECONDS);
                check(phase.equals("acks0") || got.offset() == expected.get(i),
                    "producing " + phase + ": " + got + " should have offset " + expected.get(i));
            }
        }
        if (!phase.equals("added")) steps.add(phase);
    }

    /** Reads the partitions from the beginning: every record from `start` on, in order, once, byte for byte. */
    private void compareAll(Collection<Integer> partitions, long start) {
        Map<Integer, Long> next = new HashMap<>();
        partitions.forEach(p -> next.put(p, start));
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "auto.offset.reset", "none");
        try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> assigned = partitions.stream().map(p -> new TopicPartition(topic, p)).toList();
            consumer.assign(assigned);
            consumer.seekToBeginning(assigned);
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(2 * SECONDS);
            while (!partitions.stream().allMatch(p -> next.get(p) >= sent.get(p).size())) {
                check(System.nanoTime() < deadline, "consuming: got no further than " + next);
                for (ConsumerRecord<byte[], byte[]> got : consumer.poll(Duration.ofMillis(500))) compare(got, next);
            }
            // Once more, so that a record delivered twice at the end would show.
            for (ConsumerRecord<byte[], byte[]> got : consumer.poll(Duration.ofMillis(500))) compare(got, next);
        }
    }

    /** Two members share the topic; when one has left, the other has it all; offsets and the group can be seen. */
    private void group(String protocol) throws Exception {
        String name = topic + "-" + protocol;
        Map<Integer, Set<Long>> seen = new HashMap<>();
        sent.keySet().forEach(p -> seen.put(p, new HashSet<>()));
        try (var first = member(name, protocol); var second = member(name, protocol)) {
            share(seen, Map.of(first, 2, second, 2));
            var described = get(admin.describeConsumerGroups(List.of(name)).all()).get(name);
            check(described.members().size() == 2, "the group is described as " + described);
            check(described.type().toString().equalsIgnoreCase(protocol), "its type is " + described.type());
            second.close();
            produce("taken-over-" + protocol, Map.of("acks", "all"));
            share(seen, Map.of(first, 4));
        }
        var committed = get(admin.listConsumerGroupOffsets(name).partitionsToOffsetAndMetadata());
        for (int p : sent.keySet()) {
            long offset = committed.get(new TopicPartition(topic, p)).offset();
            check(offset == sent.get(p).size(), "partition " + p + ": committed " + offset);
        }
        var listed = get(admin.listGroups().all());
        check(listed.stream().anyMatch(group -> group.groupId().equals(name)), "the group is not listed");
        get(admin.deleteConsumerGroups(List.of(name)).all());
    }

    /** Reads as a member of a group, and writes each value to the file, until it is killed. */
    private void readNumbers(String group, String protocol, Path file) throws Exception {
        try (var member = member(group, protocol)) {
            while (true) {
                var records = member.poll(Duration.ofMillis(200));
                for (var record : records) {
                    Files.write(file, List.of(new String(record.value(), StandardCharsets.UTF_8)), StandardOpenOption.APPEND);
                }
                if (!records.isEmpty()) member.commitAsync();
            }
        }
    }

    private KafkaConsumer<byte[], byte[]> member(String group, String protocol) {
        Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "group.id", group,
            "auto.offset.reset", "earliest", "enable.auto.commit", "false", "group.protocol", protocol));
        // In the new protocol the broker says how long sessions are.
        if (protocol.equals("classic")) {
            config.putAll(Map.of("session.timeout.ms", "6000", "heartbeat.interval.ms", "1000"));
        }
        var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        consumer.subscribe(List.of(topic));
        return consumer;
    }

    /** Polls until each member has so many partitions and all records were read. */
    private void share(Map<Integer, Set<Long>> seen, Map<KafkaConsumer<byte[], byte[]>, Integer> sizes)
            throws Exception {
        waitUntil("shared as " + sizes.values(), 2 * SECONDS, () -> {
            for (var member : sizes.keySet()) {
                var records = member.poll(Duration.ofMillis(100));
                for (var record : records) seen.get(record.partition()).add(record.offset());
                // What a rebalance takes before it is committed, whoever has it then reads again.
                if (!records.isEmpty()) member.commitAsync();
            }
            for (var member : sizes.entrySet()) {
                if (member.getKey().assignment().size() != member.getValue()) return false;
            }
            for (int p : sent.keySet()) if (seen.get(p).size() != sent.get(p).size()) return false;
            for (var member : sizes.keySet()) member.commitSync();
            return true;
        });
    }

    private void compare(ConsumerRecord<byte[], byte[]> got, Map<Integer, Long> next) {
        String at = "partition " + got.partition() + " offset " + got.offset() + ": ";
        long want = next.put(got.partition(), got.offset() + 1);
        check(got.offset() == want, at + "offset " + want + " belongs here");
        check(got.offset() < sent.get(got.partition()).size(), at + "never sent");
        Sent expected = sent.get(got.partition()).get((int) got.offset());
        check(Arrays.equals(got.key(), expected.key), at + "key " + new String(got.key(), StandardCharsets.UTF_8));
        check(Arrays.equals(got.value(), expected.value), at + "the value differs from what was sent");
        check(got.timestamp() == firstTimestamp + got.offset(), at + "timestamp " + got.timestamp());
    }

    private void byTimestamp(String step, long n) throws Exception {
        long found = offset(1, OffsetSpec.forTimestamp(firstTimestamp + n));
        check(found == n, step + ": offset " + found + ", but the record of that time has " + n);
        steps.add(step);
    }

    private TopicDescription describe() throws Exception {
        return get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic);
    }

    private String config(String name) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        return get(admin.describeConfigs(List.of(resource)).all()).get(resource).get(name).value();
    }

    private long offset(int partition, OffsetSpec spec) throws Exception {
        TopicPartition at = new TopicPartition(topic, partition);
        return get(admin.listOffsets(Map.of(at, spec)).partitionResult(at)).offset();
    }

    private static Sent record(String phase, int partition, int seq) {
        byte[] key = ("java|" + phase + "|" + partition + "|" + seq + "|").getBytes(StandardCharsets.UTF_8);
        byte[] value = new byte[SIZES[seq % SIZES.length]];
        for (int i = 0; i < value.length; i++) {
            boolean noise = seq % 2 == 1 && i >= key.length;
            value[i] = noise ? NOISE[seq + i - key.length] : key[i % key.length];
        }
        return new Sent(key, value);
    }

    private static byte[] noise(int length) {
        byte[] out = new byte[length];
        int x = 12345;
        for (int i = 0; i < length; i++) {
            x = x * 1103515245 + 12345;
            out[i] = (byte) (x >>> 16);
        }
        return out;
    }

    private static <T> T get(Future<T> future) throws Exception {
        return future.get(SECONDS, TimeUnit.SECONDS);
    }

    private static Throwable failure(Future<?> future) throws Exception {
        try {
            get(future);
            return null;
        } catch (ExecutionException error) {
            return error.getCause();
        }
    }

    private interface Condition {
        boolean holds() throws Exception;
    }

    private static void waitUntil(String what, Condition condition) throws Exception {
        waitUntil(what, SECONDS, condition);
    }

    private static void waitUntil(String what, long seconds, Condition condition) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        while (!condition.holds()) {
            check(System.nanoTime() < deadline, "not so after " + seconds + " s: " + what);
            Thread.sleep(100);
        }
    }

    private static void check(boolean holds, String message) {
        if (!holds) throw new IllegalStateException(message);
    }
}
