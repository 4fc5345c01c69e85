import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.stream.LongStream;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * The Apache client while nodes die: an application with default settings that takes every error for a failure.
 * Arguments: HOST:PORT,... TOPIC PROGRESS_FILE STOP_FILE.
 *
 * <p>One producer, idempotent and with acks=all as it is by default, sends numbers to each partition, and a group of each
 * protocol reads them, until STOP_FILE is there. Record n of a partition must be acknowledged with offset n, and read with it.
 * ../README.md tells what counts.
 */
public final class Failover {
    private static final int PARTITIONS = 3;
    private static final long PAUSE_MS = 4;
    private static final long SECONDS = 60;

    private final String bootstrap;
    private final String topic;
    private final Queue<String> problems = new ConcurrentLinkedQueue<>();
    private final AtomicLongArray acknowledged = new AtomicLongArray(PARTITIONS);
    private volatile boolean stopping;
    private volatile boolean allSent;
    /** Of the thread that runs the callbacks of the producer. */
    private long longestNanos;
    private final long[] lastNanos = new long[PARTITIONS];

    private interface Work {
        void run() throws Exception;
    }

    private Failover(String bootstrap, String topic) {
        this.bootstrap = bootstrap;
        this.topic = topic;
    }

    public static void main(String[] args) throws Exception {
        String result;
        try {
            result = new Failover(args[0], args[1]).run(Path.of(args[2]), Path.of(args[3]));
        } catch (IllegalStateException failed) {
            System.out.println("FAIL " + failed.getMessage());
            System.exit(1);
            return;
        }
        System.out.println("PASS " + result);
        System.exit(0);
    }

    private String run(Path progress, Path stop) throws Exception {
        List<Member> members = List.of(new Member("classic"), new Member("consumer"));
        List<Thread> threads = new ArrayList<>(List.of(guarded(this::produce)));
        for (Member member : members) threads.add(guarded(member::run));
        while (!Files.exists(stop) && problems.isEmpty()) {
            long read = members.stream().mapToLong(member -> least(member.read)).min().orElseThrow();
            Path fresh = progress.resolveSibling(progress.getFileName() + ".new");
            Files.writeString(fresh, least(acknowledged) + " " + read + "\n");
            Files.move(fresh, progress, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
            Thread.sleep(50);
        }
        stopping = true;
        for (Thread thread : threads) {
            thread.join(1000 * SECONDS);
            check(problems.isEmpty(), problems.size() + " problems: " + problems.stream().limit(3).toList());
            check(!thread.isAlive(), "not at its end " + SECONDS + " s after the last record: acknowledged " + acknowledged
                + ", read " + members.stream().map(member -> member.read).toList());
        }
        readAll();
        List<String> groups = members.stream()
            .map(m -> m.protocol + " assigned " + m.assigned + " times and " + m.again + " read twice").toList();
        return String.format("%d records acknowledged with their offsets, read, and in the log once; "
            + "a partition's longest time without one %.1f s; groups: %s",
            values(acknowledged).sum(), longestNanos / 1e9, String.join(", ", groups));
    }

    /** Whatever ends a thread ends the test. */
    private Thread guarded(Work work) {
        Thread thread = new Thread(() -> {
            try {
                work.run();
            } catch (Throwable error) {
                error.printStackTrace();
                problems.add(error.toString());
            }
        });
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    private void produce() throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap);
        Arrays.fill(lastNanos, System.nanoTime());
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            for (long next = 0; !stopping && problems.isEmpty(); next++) {
                long number = next;
                for (int partition = 0; partition < PARTITIONS; partition++) {
                    int at = partition;
                    var record = new ProducerRecord<String, String>(topic, partition, null, Long.toString(number));
                    producer.send(record, (metadata, error) -> delivered(number, at, metadata, error));
                }
                Thread.sleep(PAUSE_MS);
            }
            producer.flush();
        }
        allSent = true;
    }

    private void delivered(long number, int partition, RecordMetadata metadata, Exception error) {
        if (error != null) {
            problems.add("acknowledgement of record " + number + ": " + error);
        } else if (metadata.offset() != number) {
            problems.add("record " + number + " got " + metadata);
        } else {
            acknowledged.set(partition, number + 1);
        }
        long now = System.nanoTime();
        longestNanos = Math.max(longestNanos, now - lastNanos[partition]);
        lastNanos[partition] = now;
    }

    /** The only member of a group, and how far it has read each partition. */
    private final class Member implements ConsumerRebalanceListener {
        final String protocol;
        final AtomicLongArray read = new AtomicLongArray(PARTITIONS);
        private final long[] next = new long[PARTITIONS];
        /** A partition that was assigned anew goes on from what was committed, which may be further back. */
        private final Set<Integer> mayGoBack = new HashSet<>();
        int assigned;
        long again;

        Member(String protocol) {
            this.protocol = protocol;
        }

        void run() {
            Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "group.id", topic + "-" + protocol,
                "auto.offset.reset", "earliest", "group.protocol", protocol);
            try (var consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
                consumer.subscribe(List.of(topic), this);
                while (problems.isEmpty() && !(allSent && same(read, acknowledged))) {
                    for (ConsumerRecord<String, String> got : consumer.poll(Duration.ofMillis(100))) take(got);
                }
            }
        }

        private void take(ConsumerRecord<String, String> got) {
            int partition = got.partition();
            String at = protocol + " consumer, partition " + partition + ", offset " + got.offset() + ": ";
            if (!got.value().equals(Long.toString(got.offset()))) problems.add(at + "holds record " + got.value());
            if (got.offset() > next[partition]) problems.add(at + next[partition] + " comes first");
            if (got.offset() < next[partition] && !mayGoBack.contains(partition)) {
                problems.add(at + "read again, and it was not assigned anew");
            }
            mayGoBack.remove(partition);
            if (got.offset() < read.get(partition)) again++;
            next[partition] = got.offset() + 1;
            read.accumulateAndGet(partition, got.offset() + 1, Math::max);
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            assigned++;
            for (TopicPartition partition : partitions) mayGoBack.add(partition.partition());
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {}
    }

    /** The whole log, from its beginning to its end, as it lies there. */
    private void readAll() {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "auto.offset.reset", "none");
        try (var consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
            for (int p = 0; p < PARTITIONS; p++) {
                TopicPartition partition = new TopicPartition(topic, p);
                long end = consumer.endOffsets(List.of(partition)).get(partition);
                check(end == acknowledged.get(p), partition + " ends at " + end + " of " + acknowledged);
                consumer.assign(List.of(partition));
                consumer.seekToBeginning(List.of(partition));
                long deadline = System.nanoTime() + Duration.ofSeconds(SECONDS).toNanos();
                for (long next = 0; next < end;) {
                    check(System.nanoTime() < deadline, partition + ": " + next + " can't be read");
                    for (ConsumerRecord<String, String> got : consumer.poll(Duration.ofMillis(500))) {
                        check(got.offset() == next && got.value().equals(Long.toString(next)),
                            partition + ": " + got.offset() + " holds " + got.value() + " where " + next + " belongs");
                        next++;
                    }
                }
            }
        }
    }

    private static LongStream values(AtomicLongArray array) {
        return LongStream.range(0, array.length()).map(i -> array.get((int) i));
    }

    private static long least(AtomicLongArray array) {
        return values(array).min().orElseThrow();
    }

    private static boolean same(AtomicLongArray one, AtomicLongArray other) {
        return Arrays.equals(values(one).toArray(), values(other).toArray());
    }

    private static void check(boolean holds, String message) {
        if (!holds) throw new IllegalStateException(message);
    }
}
