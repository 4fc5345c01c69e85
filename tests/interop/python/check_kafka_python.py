"""kafka-python 3: the protocol all in Python, no librdkafka."""

import threading

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from kafka.errors import TopicAlreadyExistsError

from plan import CODECS, PARTITIONS, check, main, wait_until

SECONDS = 15


def run(plan, bootstrap):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    topic = plan.topic

    new = {topic: {"num_partitions": PARTITIONS, "replication_factor": 1, "configs": {"retention.ms": "86400000"}}}
    admin.create_topics(new, wait_for_metadata=True)
    try:
        admin.create_topics(new)
    except TopicAlreadyExistsError:
        pass
    else:
        check(False, "a topic could be created twice")
    plan.done("create")

    check(topic in admin.list_topics(), "the new topic is not listed")
    check(partition_count(admin, topic) == PARTITIONS, "described with another number of partitions")
    plan.done("list describe")

    check(retention(admin, topic) == "86400000", "describe configs lost what create set")
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "172800000"})])
    wait_until("retention.ms altered", lambda: retention(admin, topic) == "172800000")
    plan.done("describe-configs alter-configs")

    plain = {"enable_idempotence": False}
    for codec in CODECS:
        compression = None if codec == "none" else codec
        produce(plan, bootstrap, codec, plain | {"acks": "all", "compression_type": compression})
    produce(plan, bootstrap, "acks1", plain | {"acks": 1})
    produce(plan, bootstrap, "acks0", plain | {"acks": 0})
    # Nobody acknowledged those, so wait for them: what follows must come after them.
    wait_until("acks=0 arrived", lambda: all(offset(admin, topic, p, OffsetSpec.LATEST) == plan.end(p) for p in plan.sent))
    produce(plan, bootstrap, "idempotent", {"enable_idempotence": True})

    for p in plan.sent:
        check(offset(admin, topic, p, OffsetSpec.EARLIEST) == 0, f"earliest offset of partition {p} is not 0")
        check(offset(admin, topic, p, OffsetSpec.LATEST) == plan.end(p), f"latest offset of partition {p}")
    plan.done("earliest latest")
    for step, n in (("by-timestamp", 5), ("by-timestamp-compressed", 33)):
        found = offset(admin, topic, 1, plan.first_timestamp + n)
        check(found == n, f"{step}: offset {found}, but the record of that time has {n}")
        plan.done(step)

    for p, got in consume(plan, bootstrap, {p: plan.end(p) for p in plan.sent}).items():
        plan.compare(p, got)
    plan.done("consume")

    group(plan, bootstrap, admin)
    plan.done("group")

    admin.delete_records({TopicPartition(topic, 0): 10})
    wait_until("log start moved", lambda: offset(admin, topic, 0, OffsetSpec.EARLIEST) == 10)
    plan.compare(0, consume(plan, bootstrap, {0: plan.end(0)})[0], start=10)
    plan.done("delete-records")

    admin.create_partitions({topic: PARTITIONS + 2})
    wait_until("partitions added", lambda: partition_count(admin, topic) == PARTITIONS + 2)
    added = PARTITIONS + 1
    plan.sent[added] = []
    produce(plan, bootstrap, "added", {"acks": "all"})
    plan.compare(added, consume(plan, bootstrap, {added: plan.end(added)})[added])
    plan.done("add-partitions")

    admin.delete_topics([topic])
    wait_until("topic gone", lambda: topic not in admin.list_topics())
    plan.done("delete-topic")


def partition_count(admin, topic):
    return len(admin.describe_topics([topic])[0]["partitions"])


def retention(admin, topic):
    (resources,) = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]).values()
    return resources[topic]["retention.ms"]["value"]


def offset(admin, topic, partition, spec):
    at = TopicPartition(topic, partition)
    return admin.list_partition_offsets({at: spec})[at].offset


def produce(plan, bootstrap, phase, settings):
    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, **settings)
    futures = [
        (expected, producer.send(plan.topic, value, key, None, partition, timestamp))
        for partition, expected, key, value, timestamp in plan.phase(phase)
    ]
    producer.flush(SECONDS)
    for expected, future in futures:
        got = future.get(SECONDS)
        check(
            phase == "acks0" or got.offset == expected,
            f"producing {phase}: partition {got.partition} got offset {got.offset}, expected {expected}",
        )
    producer.close()
    if phase != "added":
        plan.done(phase)


def group(plan, bootstrap, admin):
    """Two members share the topic; when one has left, the other has it all; offsets and the group can be seen."""
    name = plan.topic + "-group"
    seen = {p: set() for p in plan.sent}

    def member():
        consumer = KafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=name,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=6000,
            heartbeat_interval_ms=1000,
        )
        consumer.subscribe([plan.topic])
        return consumer

    def read(consumer, until):
        """Reads until told to stop: a member that doesn't poll holds up its group."""
        while not until.is_set():
            for at, messages in consumer.poll(timeout_ms=100).items():
                seen[at.partition].update(m.offset for m in messages)
                consumer.commit()
        consumer.close()

    members = [(member(), threading.Event()) for _ in range(2)]
    threads = [threading.Thread(target=read, args=args) for args in members]
    for thread in threads:
        thread.start()
    (first, first_ends), (second, second_ends) = members
    shares = lambda: [len(first.assignment()), len(second.assignment())]
    try:
        wait_until("two members share and have all", lambda: shares() == [2, 2] and plan.seen_all(seen), 2 * SECONDS)
        second_ends.set()
        threads[1].join()
        produce(plan, bootstrap, "taken-over", {})
        wait_until("the other has all", lambda: len(first.assignment()) == 4 and plan.seen_all(seen), 2 * SECONDS)
    finally:
        first_ends.set()
        second_ends.set()
        for thread in threads:
            thread.join()
    wait_until("all is committed", lambda: committed(admin, name, plan))
    check(name in str(admin.list_groups()), f"{name} is not listed")
    admin.delete_groups([name])


def committed(admin, name, plan):
    offsets = admin.list_group_offsets([name])[name]
    return all(offsets[TopicPartition(plan.topic, p)].offset == plan.end(p) for p in plan.sent)


def consume(plan, bootstrap, ends):
    """Everything of the given partitions up to their ends, and whatever there is after it, by assignment."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="none")
    partitions = {p: TopicPartition(plan.topic, p) for p in ends}
    consumer.assign(list(partitions.values()))
    consumer.seek_to_beginning()
    got = {p: [] for p in ends}

    def poll(milliseconds):
        for at, messages in consumer.poll(timeout_ms=milliseconds).items():
            got[at.partition].extend((m.offset, m.key, m.value) for m in messages)
        return all(consumer.position(at) >= ends[p] for p, at in partitions.items())

    wait_until("everything consumed", lambda: poll(500), 2 * SECONDS)
    poll(500)  # once more, so that a record delivered twice at the end would show
    consumer.close()
    return got


main("kafka-python", run)
