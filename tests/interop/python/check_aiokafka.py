"""aiokafka: the asyncio client; greets with ApiVersions 0 and speaks the oldest versions of all clients here."""

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import CommitFailedError, TopicAlreadyExistsError, for_code

from plan import CODECS, PARTITIONS, check, main

SECONDS = 15


async def run(plan, bootstrap):
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    topic = plan.topic

    new = NewTopic(topic, PARTITIONS, 1, topic_configs={"retention.ms": "86400000"})
    check_topic_errors(await admin.create_topics([new]))
    try:
        check_topic_errors(await admin.create_topics([new]))
    except TopicAlreadyExistsError:
        pass
    else:
        check(False, "a topic could be created twice")
    plan.done("create")

    check(topic in await admin.list_topics(), "the new topic is not listed")
    check(await partition_count(admin, topic) == PARTITIONS, "described with another number of partitions")
    plan.done("list describe")

    check(await retention(admin, topic) == "86400000", "describe configs lost what create set")
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "172800000"})])
    await wait_until("retention.ms altered", retention, admin, topic, "172800000")
    plan.done("describe-configs alter-configs")

    for codec in CODECS:
        await produce(plan, bootstrap, codec, acks="all", compression_type=None if codec == "none" else codec)
    await produce(plan, bootstrap, "acks1", acks=1)
    await produce(plan, bootstrap, "acks0", acks=0)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="none")
    await consumer.start()
    at = {p: TopicPartition(topic, p) for p in plan.sent}
    # Nobody acknowledged those, so wait for them: what follows must come after them.
    arrived = {at[p]: plan.end(p) for p in plan.sent}
    await wait_until("acks=0 arrived", consumer.end_offsets, list(at.values()), want=arrived)
    await produce(plan, bootstrap, "idempotent", enable_idempotence=True)

    starts = await consumer.beginning_offsets(list(at.values()))
    ends = await consumer.end_offsets(list(at.values()))
    for p in plan.sent:
        check((starts[at[p]], ends[at[p]]) == (0, plan.end(p)), f"partition {p}: {starts[at[p]]} to {ends[at[p]]}")
    plan.done("earliest latest")
    for step, n in (("by-timestamp", 5), ("by-timestamp-compressed", 33)):
        found = (await consumer.offsets_for_times({at[1]: plan.first_timestamp + n}))[at[1]].offset
        check(found == n, f"{step}: offset {found}, but the record of that time has {n}")
        plan.done(step)
    await consumer.stop()

    for p, got in (await consume(plan, bootstrap, {p: plan.end(p) for p in plan.sent})).items():
        plan.compare(p, got)
    plan.done("consume")

    await group(plan, bootstrap, admin)
    plan.done("group")

    await admin.delete_records({at[0]: RecordsToDelete(before_offset=10)})
    plan.compare(0, (await consume(plan, bootstrap, {0: plan.end(0)}))[0], start=10)
    plan.done("delete-records")

    await admin.create_partitions({topic: NewPartitions(PARTITIONS + 2)})
    await wait_until("partitions added", partition_count, admin, topic, PARTITIONS + 2)
    added = PARTITIONS + 1
    plan.sent[added] = []
    await produce(plan, bootstrap, "added", acks="all")
    plan.compare(added, (await consume(plan, bootstrap, {added: plan.end(added)}))[added])
    plan.done("add-partitions")

    check_topic_errors(await admin.delete_topics([topic]))
    await wait_until("topic gone", is_listed, admin, topic, False)
    plan.done("delete-topic")
    await admin.close()


def check_topic_errors(response):
    """This client hands back the answer as it came: an error is a number in it."""
    errors = getattr(response, "topic_errors", None) or response.topic_error_codes
    for _, code, *_ in errors:
        if code:
            raise for_code(code)


async def partition_count(admin, topic):
    return len((await admin.describe_topics([topic]))[0]["partitions"])


async def is_listed(admin, topic):
    return topic in await admin.list_topics()


async def retention(admin, topic):
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    ((code, message, _, _, entries),) = answer.resources
    check(code == 0, f"describe configs: {code} {message}")
    return {name: value for name, value, *_ in entries}["retention.ms"]


async def produce(plan, bootstrap, phase, **settings):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, **settings)
    await producer.start()
    futures = [
        (expected, await producer.send(plan.topic, value, key, partition, timestamp))
        for partition, expected, key, value, timestamp in plan.phase(phase)
    ]
    await asyncio.wait_for(producer.flush(), SECONDS)
    for expected, future in futures:
        got = await asyncio.wait_for(future, SECONDS)
        check(phase == "acks0" or got.offset == expected, f"producing {phase}: {got}, expected offset {expected}")
    await producer.stop()
    if phase != "added":
        plan.done(phase)


async def group(plan, bootstrap, admin):
    """Two members share the topic; when one has left, the other has it all; offsets and the group can be seen."""
    name = plan.topic + "-group"
    seen = {p: set() for p in plan.sent}

    async def member():
        consumer = AIOKafkaConsumer(
            plan.topic,
            bootstrap_servers=bootstrap,
            group_id=name,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=6000,
            heartbeat_interval_ms=1000,
        )
        await consumer.start()
        return consumer

    async def share(members, sizes):
        deadline = asyncio.get_running_loop().time() + 2 * SECONDS
        while [len(consumer.assignment()) for consumer in members] != sizes or not plan.seen_all(seen):
            check(asyncio.get_running_loop().time() < deadline, f"not shared as {sizes}")
            for consumer in members:
                for at, messages in (await consumer.getmany(timeout_ms=100)).items():
                    seen[at.partition].update(m.offset for m in messages)
                    await commit(consumer)

    # Each joins at once: while one joins, the other must join again.
    first, second = await asyncio.gather(member(), member())
    await share([first, second], [2, 2])
    await second.stop()
    await produce(plan, bootstrap, "taken-over", acks="all")
    await share([first], [4])
    await first.commit()
    await first.stop()
    offsets = await admin.list_consumer_group_offsets(name)
    for p in plan.sent:
        check(offsets[TopicPartition(plan.topic, p)].offset == plan.end(p), f"committed {offsets}")
    check(name in str(await admin.list_consumer_groups()), f"{name} is not listed")


async def commit(consumer):
    """A rebalance may have taken what is to be committed; whoever has it now reads it again."""
    try:
        await consumer.commit()
    except CommitFailedError:
        pass


async def consume(plan, bootstrap, ends):
    """Everything of the given partitions up to their ends, and whatever there is after it, by assignment."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="none")
    await consumer.start()
    partitions = {p: TopicPartition(plan.topic, p) for p in ends}
    consumer.assign(list(partitions.values()))
    await consumer.seek_to_beginning()
    got = {p: [] for p in ends}

    async def poll():
        for at, messages in (await consumer.getmany(timeout_ms=500)).items():
            got[at.partition].extend((m.offset, m.key, m.value) for m in messages)

    deadline = asyncio.get_running_loop().time() + 2 * SECONDS
    while any([await consumer.position(at) < ends[p] for p, at in partitions.items()]):
        check(asyncio.get_running_loop().time() < deadline, "consuming: not everything came")
        await poll()
    await poll()  # once more, so that a record delivered twice at the end would show
    await consumer.stop()
    return got


async def wait_until(what, ask, *args, want=None):
    """Asks until the answer is `want` (by default the last argument), in bounded time."""
    if want is None:
        *args, want = args
    deadline = asyncio.get_running_loop().time() + SECONDS
    while await ask(*args) != want:
        check(asyncio.get_running_loop().time() < deadline, f"not so after {SECONDS} s: {what}")
        await asyncio.sleep(0.1)


main("aiokafka", lambda plan, bootstrap: asyncio.run(run(plan, bootstrap)))
