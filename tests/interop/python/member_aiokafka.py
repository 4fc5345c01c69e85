"""A member of a group that is killed, of aiokafka: reads numbers and writes each to a file.

    member_aiokafka.py HOST:PORT TOPIC GROUP classic FILE
"""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError


async def main(bootstrap, topic, group, protocol, file):
    assert protocol == "classic", "it knows no other"
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=6000,
        heartbeat_interval_ms=1000,
    )
    await consumer.start()
    uncommitted = False
    with open(file, "a", buffering=1) as seen:
        while True:
            # Errors are what a killed broker costs, and a commit that a rebalance forbids: whoever has the partition
            # reads it again.
            try:
                for messages in (await consumer.getmany(timeout_ms=200)).values():
                    for message in messages:
                        seen.write(message.value.decode() + "\n")
                    uncommitted = True
                if uncommitted:
                    await consumer.commit()
                    uncommitted = False
            except KafkaError as error:
                print(repr(error), file=sys.stderr)


asyncio.run(main(*sys.argv[1:]))
