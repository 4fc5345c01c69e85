"""One member of a group that is killed: reads numbers and writes each to a file. Also makes and feeds the topic.

    group_member.py setup HOST:PORT TOPIC PARTITIONS
    group_member.py feed HOST:PORT TOPIC FROM TO
    group_member.py member HOST:PORT TOPIC GROUP classic|consumer FILE
"""

import sys

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

SECONDS = 60
SETTINGS = {"group.consumer.session.timeout.ms": "6000", "group.consumer.heartbeat.interval.ms": "1000"}


def setup(bootstrap, topic, partitions):
    """The topic, and sessions short enough for a test."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    entries = [ConfigEntry(n, v, incremental_operation=AlterConfigOpType.SET) for n, v in SETTINGS.items()]
    altered = admin.incremental_alter_configs([ConfigResource(ResourceType.BROKER, "0", incremental_configs=entries)])
    for future in altered.values():
        future.result(SECONDS)
    for future in admin.create_topics([NewTopic(topic, int(partitions), 1)]).values():
        future.result(SECONDS)


def feed(bootstrap, topic, first, end):
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for number in range(int(first), int(end)):
        producer.produce(topic, str(number), str(number))
    if producer.flush(SECONDS) != 0:
        sys.exit(f"not acknowledged in {SECONDS} s")


def member(bootstrap, topic, group, protocol, file):
    session = {"session.timeout.ms": 6000} if protocol == "classic" else {"group.protocol": protocol}
    config = {"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest"}
    consumer = Consumer(config | session | {"enable.auto.commit": False, "client.id": file.rsplit("/")[-1]})
    consumer.subscribe([topic])
    with open(file, "a", buffering=1) as seen:
        while True:
            message = consumer.poll(0.2)
            # Errors are what a killed broker costs: the client goes on by itself.
            if message is not None and message.error() is None:
                seen.write(message.value().decode() + "\n")
                consumer.commit(message)


{"setup": setup, "feed": feed, "member": member}[sys.argv[1]](*sys.argv[2:])
