"""What every Python program here produces and expects back. See ../README.md for the plan they share."""

import time

PARTITIONS = 4
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
SIZES = [1, 17, 100, 1_000, 5_000, 40_000, 200_000]
COUNT = 14  # records of one phase in one partition: each size twice, once repetitive and once noise


def make_noise(length):
    out, x = bytearray(), 12345
    for _ in range(length):
        x = (x * 1103515245 + 12345) & 0xFFFFFFFF
        out.append(x >> 16 & 0xFF)
    return bytes(out)


NOISE = make_noise(256 * 1024)


def record(client, phase, partition, seq):
    """Key and value of one record. The value is made only from who sent it and where it belongs."""
    key = f"{client}|{phase}|{partition}|{seq}|".encode()
    size = SIZES[seq % len(SIZES)]
    body = NOISE[seq : seq + size] if seq % 2 else key * (size // len(key) + 1)
    return key, (key + body)[:size]


class Plan:
    """Remembers, for each partition, every record sent, so that the offset of each is known beforehand."""

    def __init__(self, client, topic):
        self.client, self.topic = client, topic
        self.steps = []
        self.sent = {p: [] for p in range(PARTITIONS)}
        # Timestamps rise by a millisecond for each record of a partition: first_timestamp + n has offset n.
        self.first_timestamp = int(time.time() * 1000) - 60_000

    def phase(self, name):
        """The records of a phase as (partition, expected offset, key, value, timestamp), partitions taking turns."""
        for seq in range(COUNT):
            for partition, sent in self.sent.items():
                key, value = record(self.client, name, partition, seq)
                offset = len(sent)
                sent.append((key, value))
                yield partition, offset, key, value, self.first_timestamp + offset

    def end(self, partition):
        return len(self.sent[partition])

    def compare(self, partition, got, start=0):
        """got: (offset, key, value) in the order read; all of the partition from `start` must be there, once."""
        sent = self.sent[partition]
        for i, (offset, key, value) in enumerate(got):
            want = start + i
            check(offset == want, f"partition {partition}: read offset {offset} where {want} belongs")
            check(want < len(sent), f"partition {partition}: offset {want} was never sent, key {key!r}")
            check(
                (key, value) == sent[want],
                f"partition {partition} offset {want}: read key {key!r} and {len(value or b'')} bytes, "
                f"sent key {sent[want][0]!r} and {len(sent[want][1])} bytes; they differ",
            )
        check(
            start + len(got) == len(sent),
            f"partition {partition}: read {len(got)} records from offset {start}, {len(sent) - start} were sent",
        )

    def seen_all(self, seen):
        """seen: {partition: set of offsets}, read in a group, where a rebalance may have records read twice."""
        return all(seen[p] == set(range(self.end(p))) for p in self.sent)

    def done(self, step):
        self.steps.append(step)

    def passed(self):
        print(f"PASS {self.client} {' '.join(self.steps)}", flush=True)


class Failed(Exception):
    pass


def check(holds, message):
    if not holds:
        raise Failed(message)


def wait_until(what, condition, seconds=15):
    """Some changes reach a client's view a moment later; a missing one must still fail in bounded time."""
    deadline = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < deadline, f"not so after {seconds} s: {what}")
        time.sleep(0.1)


def main(client, run):
    """Runs run(plan, bootstrap) as a program: arguments HOST:PORT TOPIC, one PASS or FAIL line, an exit code."""
    import sys
    import traceback

    plan = Plan(client, sys.argv[2])
    try:
        run(plan, sys.argv[1])
    except BaseException as error:  # also KeyboardInterrupt: the line must say how far it came
        if not isinstance(error, Failed):
            traceback.print_exc()
        print(f"FAIL {client} after [{' '.join(plan.steps)}]: {type(error).__name__}: {error}", flush=True)
        sys.exit(1)
    plan.passed()
