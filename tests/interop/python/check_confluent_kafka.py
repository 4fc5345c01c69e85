"""confluent-kafka: librdkafka of today, as most programs that are not on the JVM use it."""

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from plan import CODECS, PARTITIONS, check, main, wait_until

SECONDS = 15


def run(plan, bootstrap):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topic = plan.topic

    create(admin, topic)
    plan.done("create")
    check(topic in admin.list_topics(timeout=SECONDS).topics, "the new topic is not listed")
    check(len(leaders(admin, topic)) == PARTITIONS, f"described with {leaders(admin, topic)}")
    plan.done("list describe")

    check(config(admin, topic, "retention.ms") == "86400000", "describe configs lost what create set")
    alter = ConfigEntry("retention.ms", "172800000", incremental_operation=AlterConfigOpType.SET)
    wait(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[alter])]))
    wait_until("retention.ms altered", lambda: config(admin, topic, "retention.ms") == "172800000")
    plan.done("describe-configs alter-configs")

    for codec in CODECS:
        produce(plan, bootstrap, codec, {"compression.type": codec, "acks": "all"})
    produce(plan, bootstrap, "acks1", {"acks": "1"})
    produce(plan, bootstrap, "acks0", {"acks": "0"})
    # Nobody acknowledged those, so wait for them: what follows must come after them.
    wait_until("acks=0 arrived", lambda: all(latest(admin, topic, p) == plan.end(p) for p in plan.sent))
    plan.done("acks0")
    produce(plan, bootstrap, "idempotent", {"enable.idempotence": True, "compression.type": "zstd"})

    for p in plan.sent:
        check(offset(admin, topic, p, OffsetSpec.earliest()) == 0, f"earliest offset of partition {p} is not 0")
        check(latest(admin, topic, p) == plan.end(p), f"latest offset of partition {p} is not {plan.end(p)}")
    plan.done("earliest latest")
    for step, n in (("by-timestamp", 5), ("by-timestamp-compressed", 33)):
        found = offset(admin, topic, 1, OffsetSpec.for_timestamp(plan.first_timestamp + n))
        check(found == n, f"{step}: offset {found}, but the record of that time has {n}")
        plan.done(step)

    for p, got in consume(bootstrap, topic, {p: plan.end(p) for p in plan.sent}).items():
        plan.compare(p, got)
    plan.done("consume")

    group(plan, bootstrap, admin, "classic")
    plan.done("group")
    group(plan, bootstrap, admin, "consumer")
    plan.done("group-848")

    wait(admin.delete_records([TopicPartition(topic, 0, 10)]))
    wait_until("log start moved", lambda: offset(admin, topic, 0, OffsetSpec.earliest()) == 10)
    plan.compare(0, consume(bootstrap, topic, {0: plan.end(0)})[0], start=10)
    plan.done("delete-records")

    wait(admin.create_partitions([NewPartitions(topic, PARTITIONS + 2)]))
    wait_until("partitions added", lambda: len(leaders(admin, topic)) == PARTITIONS + 2)
    added = PARTITIONS + 1
    plan.sent[added] = []
    produce(plan, bootstrap, "added", {"acks": "all"})
    plan.compare(added, consume(bootstrap, topic, {added: plan.end(added)})[added])
    plan.done("add-partitions")

    wait(admin.delete_topics([topic]))
    wait_until("topic gone", lambda: topic not in admin.list_topics(timeout=SECONDS).topics)
    plan.done("delete-topic")


def wait(futures):
    """Admin calls answer with a future for each thing asked; the last one's result is enough for us."""
    result = None
    for future in futures.values():
        result = future.result(SECONDS)
    return result


def create(admin, topic):
    new = NewTopic(topic, PARTITIONS, 1, config={"retention.ms": "86400000"})
    wait(admin.create_topics([new]))
    try:
        wait(admin.create_topics([new]))
    except KafkaException as error:
        check(error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS, f"creating it twice: {error}")
    else:
        check(False, "a topic could be created twice")


def leaders(admin, topic):
    described = wait(admin.describe_topics(TopicCollection([topic])))
    return {p.id: p.leader.id for p in described.partitions if p.leader is not None}


def config(admin, topic, name):
    return wait(admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))[name].value


def offset(admin, topic, partition, spec):
    return wait(admin.list_offsets({TopicPartition(topic, partition): spec})).offset


def latest(admin, topic, partition):
    return offset(admin, topic, partition, OffsetSpec.latest())


def produce(plan, bootstrap, phase, config):
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "message.timeout.ms": SECONDS * 1000} | config)
    problems = []

    def delivered(expected, error, message):
        if error is not None:
            problems.append(str(error))
        elif phase != "acks0" and message.offset() != expected:
            problems.append(f"partition {message.partition()}: got offset {message.offset()}, expected {expected}")

    for partition, expected, key, value, timestamp in plan.phase(phase):
        callback = lambda error, message, expected=expected: delivered(expected, error, message)
        producer.produce(plan.topic, value, key, partition, on_delivery=callback, timestamp=timestamp)
    check(producer.flush(SECONDS) == 0, f"producing {phase}: not acknowledged in {SECONDS} s")
    check(not problems, f"producing {phase}: {problems[:3]}")
    if phase not in ("acks0", "added"):
        plan.done(phase)


def group(plan, bootstrap, admin, protocol):
    """Two members share the topic; when one has left, the other has it all; offsets and the group can be seen."""
    name = f"{plan.topic}-{protocol}"
    seen = {p: set() for p in plan.sent}

    def member():
        config = {"group.id": name, "auto.offset.reset": "earliest", "enable.auto.commit": False}
        # In the new protocol the broker says how long sessions are.
        session = {"session.timeout.ms": 6000} if protocol == "classic" else {"group.protocol": protocol}
        consumer = Consumer({"bootstrap.servers": bootstrap} | session | config)
        consumer.subscribe([plan.topic])
        return consumer

    def poll(*members):
        for consumer in members:
            message = consumer.poll(0.1)
            while message is not None:
                check(message.error() is None, f"in a group: {message.error()}")
                seen[message.partition()].add(message.offset())
                consumer.commit(message, asynchronous=False)
                message = consumer.poll(0.1)

    def share(members, sizes):
        poll(*members)
        return [len(consumer.assignment()) for consumer in members] == sizes and plan.seen_all(seen)

    first, second = member(), member()
    wait_until("two members share and have all", lambda: share([first, second], [2, 2]), 2 * SECONDS)
    described = wait(admin.describe_consumer_groups([name]))
    check(described.state.name == "STABLE" and len(described.members) == 2, f"described as {described.state}")
    second.close()
    produce(plan, bootstrap, f"taken-over-{protocol}", {"acks": "all"})
    wait_until("the one that is left has all", lambda: share([first], [4]), 2 * SECONDS)
    committed = first.committed([TopicPartition(plan.topic, p) for p in plan.sent], SECONDS)
    first.close()
    check(all(c.offset == plan.end(c.partition) for c in committed), f"committed {committed}")
    listed = [listing.group_id for listing in admin.list_consumer_groups().result(SECONDS).valid]
    check(name in listed, f"{name} is not among {listed}")
    wait(admin.delete_consumer_groups([name]))


def consume(bootstrap, topic, ends):
    """Everything of the given partitions up to their ends, and whatever there is after it, by assignment."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "never-joined",  # this client insists on one, also when nothing is committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "check.crcs": True,
        }
    )
    consumer.assign([TopicPartition(topic, p, -2) for p in ends])  # -2: from the beginning
    got, open_partitions = {p: [] for p in ends}, set(ends)
    while open_partitions:
        message = consumer.poll(SECONDS)
        check(message is not None, f"consuming: nothing for {SECONDS} s, partitions {open_partitions} unfinished")
        if message.error() is None:
            got[message.partition()].append((message.offset(), message.key(), message.value()))
        elif message.error().code() == KafkaError._PARTITION_EOF:
            open_partitions.discard(message.partition())
        else:
            check(False, f"consuming: {message.error()}")
    consumer.close()
    return got


main("confluent-kafka", run)
