"""How long members of a group get nothing because another one comes or goes.

    pauses.py HOST:PORT TOPIC classic|consumer

Two members read what is produced all the time; a third joins and leaves, several times. Told is the longest time that
one of the two was without a record: while nobody comes or goes, while the third joins, and while it leaves. What the
first says is the machine's and the producer's.
"""

import statistics
import sys
import threading
import time

from confluent_kafka import Consumer, Producer

from plan import wait_until

ROUNDS = 5
SECONDS = 30
PER_SECOND = 1000


class Member(threading.Thread):
    """Reads in a thread of its own, and knows its longest wait for a record since it was asked last."""

    def __init__(self, bootstrap, topic, protocol):
        super().__init__(daemon=True)
        config = {"group.protocol": "consumer"}
        if protocol == "classic":
            config = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}
        config |= {"bootstrap.servers": bootstrap, "group.id": topic, "auto.offset.reset": "latest"}
        self.consumer = Consumer(config)
        self.consumer.subscribe([topic])
        self.stopping, self.owns, self.longest = False, 0, 0.0
        self.start()

    def run(self):
        last = None
        while not self.stopping:
            message = self.consumer.poll(0.05)
            now = time.monotonic()
            if message is not None and message.error() is None:
                if last is not None:
                    self.longest = max(self.longest, now - last)
                last = now
            self.owns = len(self.consumer.assignment())
        self.consumer.close()

    def take_longest(self):
        longest, self.longest = self.longest, 0.0
        return longest

    def leave(self):
        self.stopping = True
        self.join()


def produce(bootstrap, topic, partitions, stop):
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1})
    number = 0
    while not stop.is_set():
        for partition in range(partitions):
            producer.produce(topic, b"x" * 100, partition=partition)
        producer.poll(0)
        number += partitions
        time.sleep(partitions / PER_SECOND)
    producer.flush(SECONDS)


def main(bootstrap, topic, protocol):
    partitions = len(Producer({"bootstrap.servers": bootstrap}).list_topics(topic, SECONDS).topics[topic].partitions)
    stop = threading.Event()
    threading.Thread(target=produce, args=(bootstrap, topic, partitions, stop), daemon=True).start()
    stay = [Member(bootstrap, topic, protocol) for _ in range(2)]
    shared = lambda members: sum(m.owns for m in members) == partitions and all(m.owns for m in members)
    wait_until("two members share", lambda: shared(stay), SECONDS)
    longest = {"alone": [], "join": [], "leave": []}

    def note(what):
        time.sleep(2)
        longest[what].append(max(m.take_longest() for m in stay))

    note("alone")
    longest["alone"].clear()
    for _ in range(ROUNDS):
        note("alone")
        third = Member(bootstrap, topic, protocol)
        wait_until("three members share", lambda: shared([*stay, third]), SECONDS)
        note("join")
        third.leave()
        wait_until("two members share again", lambda: shared(stay), SECONDS)
        note("leave")
    stop.set()
    for member in stay:
        member.leave()
    for what, waits in longest.items():
        median, worst = 1000 * statistics.median(waits), 1000 * max(waits)
        print(f"{protocol:8} {what:5} longest without a record: {median:.0f} ms (median of {ROUNDS}), {worst:.0f} ms (worst)")


main(*sys.argv[1:])
