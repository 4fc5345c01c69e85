"""librdkafka while nodes die: an application with default settings that takes every error for a failure.

    failover.py HOST:PORT,... TOPIC PROGRESS_FILE STOP_FILE

One idempotent producer sends numbers to each partition, and a group of each protocol reads them, until STOP_FILE is
there. Record n of a partition must be acknowledged with offset n, and read with it. ../README.md tells what counts.
"""

import collections
import os
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from plan import Failed, check

PARTITIONS = 3
PAUSE = 0.002
SECONDS = 60
# What librdkafka calls informational: a connection is gone, and it goes on by itself.
INFORMATIONAL = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)


class Application:
    def __init__(self, bootstrap, topic):
        self.bootstrap, self.topic = bootstrap, topic
        self.problems = []
        self.informed = collections.Counter()
        self.acknowledged = [0] * PARTITIONS
        self.stopping, self.all_sent = False, False
        self.longest = 0.0

    def config(self, **more):
        return {"bootstrap.servers": self.bootstrap, "error_cb": self.on_error} | more

    def on_error(self, error):
        if error.fatal() or error.code() not in INFORMATIONAL:
            self.problems.append(f"error callback: {error}")
        self.informed[error.name()] += 1

    def produce(self):
        producer = Producer(self.config(**{"enable.idempotence": True}))
        last = [time.monotonic()] * PARTITIONS

        def delivered(number, error, message):
            if error is not None:
                self.problems.append(f"delivery report of record {number}: {error}")
            elif message.offset() != number:
                self.problems.append(f"record {number} of {message.partition()} got offset {message.offset()}")
            else:
                self.acknowledged[message.partition()] = number + 1
            now, partition = time.monotonic(), message.partition()
            self.longest = max(self.longest, now - last[partition])
            last[partition] = now

        number = 0
        while not self.stopping and not self.problems:
            for partition in range(PARTITIONS):
                report = lambda error, message, number=number: delivered(number, error, message)
                producer.produce(self.topic, str(number), partition=partition, on_delivery=report)
            number += 1
            producer.poll(PAUSE)
            time.sleep(PAUSE)
        left = producer.flush(SECONDS)
        if left:
            self.problems.append(f"{left} records have no outcome {SECONDS} s after the last was sent")
        self.all_sent = True


class Member:
    """The only member of a group, and how far it has read each partition."""

    def __init__(self, application, protocol):
        self.application, self.protocol = application, protocol
        self.next, self.read = [0] * PARTITIONS, [0] * PARTITIONS
        self.again, self.assigned = 0, 0
        # A partition that was assigned anew goes on from what was committed, which may be further back.
        self.may_go_back = set()

    def run(self):
        application = self.application
        settings = {"group.id": f"{application.topic}-{self.protocol}", "group.protocol": self.protocol}
        settings |= {"auto.offset.reset": "earliest", "on_commit": self.on_commit}
        consumer = Consumer(application.config(**settings))
        consumer.subscribe([application.topic], on_assign=self.on_assign)
        while not application.problems and not (application.all_sent and self.read == application.acknowledged):
            message = consumer.poll(0.1)
            if message is None:
                continue
            if message.error() is not None:
                application.problems.append(f"{self.protocol} consumer: {message.error()}")
                return
            self.take(message.partition(), message.offset(), message.value().decode())
        consumer.close()

    def on_assign(self, consumer, partitions):
        self.assigned += 1
        self.may_go_back |= {p.partition for p in partitions}

    def on_commit(self, error, partitions):
        errors = [error] + [partition.error for partition in partitions]
        for error in errors:
            if error is not None and error.code() != KafkaError._NO_OFFSET:
                self.application.problems.append(f"{self.protocol} consumer, commit: {error}")

    def take(self, partition, offset, value):
        at = f"{self.protocol} consumer, partition {partition}, offset {offset}"
        problems = self.application.problems
        if value != str(offset):
            problems.append(f"{at}: holds record {value}")
        if offset > self.next[partition]:
            problems.append(f"{at}: {self.next[partition]} comes first")
        if offset < self.next[partition] and partition not in self.may_go_back:
            problems.append(f"{at}: read again, and it was not assigned anew")
        self.may_go_back.discard(partition)
        self.again += offset < self.read[partition]
        self.next[partition] = offset + 1
        self.read[partition] = max(self.read[partition], offset + 1)


def read_all(application):
    """The whole log, from its beginning to its end, as it lies there."""
    consumer = Consumer(application.config(**{"group.id": "never-joined", "enable.auto.commit": False}))
    for partition, count in enumerate(application.acknowledged):
        at = TopicPartition(application.topic, partition, 0)
        _, end = consumer.get_watermark_offsets(at, timeout=SECONDS)
        check(end == count, f"partition {partition} ends at {end}, and {count} records were acknowledged")
        consumer.assign([at])
        for number in range(count):
            message = consumer.poll(SECONDS)
            check(message is not None and message.error() is None, f"partition {partition}: {number} can't be read")
            found = (message.offset(), message.value().decode())
            check(found == (number, str(number)), f"partition {partition}: {found} instead of {number}")
    consumer.close()


def write_progress(file, acknowledged, read):
    with open(file + ".new", "w") as new:
        new.write(f"{acknowledged} {read}\n")
    os.replace(file + ".new", file)


def run(bootstrap, topic, progress, stop):
    application = Application(bootstrap, topic)
    members = [Member(application, protocol) for protocol in ("classic", "consumer")]

    def guarded(work):
        try:
            work()
        except BaseException as error:  # whatever ends a thread ends the test
            application.problems.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=guarded, args=(it,), daemon=True) for it in
               (application.produce, *(member.run for member in members))]
    for thread in threads:
        thread.start()
    while not os.path.exists(stop) and not application.problems:
        write_progress(progress, min(application.acknowledged), min(min(member.read) for member in members))
        time.sleep(0.05)
    application.stopping = True
    for thread in threads:
        thread.join(SECONDS)
        check(not application.problems, f"{len(application.problems)} problems: {application.problems[:3]}")
        check(not thread.is_alive(), f"not at its end {SECONDS} s after the last record; read {[m.read for m in members]}")
    read_all(application)
    told = ", ".join(f"{name} {count} times" for name, count in application.informed.items()) or "nothing"
    groups = ", ".join(f"{m.protocol} assigned {m.assigned} times and {m.again} read twice" for m in members)
    print(f"PASS {sum(application.acknowledged)} records acknowledged with their offsets, read, and in the log once; "
          f"a partition's longest time without one {application.longest:.1f} s; groups: {groups}; informed of {told}")


try:
    run(*sys.argv[1:])
except Failed as failed:
    print(f"FAIL {failed}")
    sys.exit(1)
