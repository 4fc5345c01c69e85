"""A member of a group that is killed, of kafka-python: reads numbers and writes each to a file.

    member_kafka_python.py HOST:PORT TOPIC GROUP classic FILE
"""

import sys

from kafka import KafkaConsumer
from kafka.errors import KafkaError

bootstrap, topic, group, protocol, file = sys.argv[1:]
assert protocol == "classic", "it knows no other"
consumer = KafkaConsumer(
    topic,
    bootstrap_servers=bootstrap,
    group_id=group,
    auto_offset_reset="earliest",
    enable_auto_commit=False,
    session_timeout_ms=6000,
    heartbeat_interval_ms=1000,
)
uncommitted = False
with open(file, "a", buffering=1) as seen:
    while True:
        # Errors are what a killed broker costs, and a commit that a rebalance forbids: whoever has the partition reads
        # it again.
        try:
            for messages in consumer.poll(timeout_ms=200).values():
                for message in messages:
                    seen.write(message.value.decode() + "\n")
                uncommitted = True
            if uncommitted:
                consumer.commit()
                uncommitted = False
        except KafkaError as error:
            print(repr(error), file=sys.stderr)
