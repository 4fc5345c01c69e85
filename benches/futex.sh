#!/usr/bin/env bash
# Shard threads take no locks: under steady load they make no futex call. Counts those that one makes while a
# client produces and another reads what it wrote, and fails if there was any.
# Usage: benches/futex.sh [SECONDS]     (default 5; needs strace, and the right to trace)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${1:-5}
command -v strace >/dev/null || { echo "strace isn't installed: apt-get install strace" >&2; exit 2; }
cargo build --release --quiet -p hutong -p hutong-load
bin=${CARGO_TARGET_DIR:-target}/release
data=$(mktemp -d)
broker='' load=''
stop() {
    for process in $load $broker; do
        kill "$process" 2>/dev/null && wait "$process" 2>/dev/null || true
    done
    rm -rf "$data"
}
trap stop EXIT
trap 'exit 130' INT TERM

"$bin/hutong" serve --data-dir "$data/broker" --listen 127.0.0.1:0 --shards 1 --cpus 0 2>"$data/log" &
broker=$!
for _ in $(seq 200); do
    at=$(sed -n 's/.*ready: .*\(127\.0\.0\.1:[0-9]*\).*/\1/p' "$data/log")
    [ -n "$at" ] && break
    sleep 0.1
done
[ -n "$at" ] || { cat "$data/log" >&2; exit 1; }
"$bin/hutong-load" e2e --brokers "$at" --cpus 1 --connections 4 --consumers 2 --partitions 4 --in-flight 64 \
    --warmup 0s --duration $((seconds + 20))s >"$data/load" 2>&1 &
load=$!
# Steady: connections are there, and the first journal segments.
sleep 3
# The thread that was started first is the shard; what it starts, for calls that block, is named like it.
shard=$(grep -l '^shard-0' /proc/"$broker"/task/*/comm | cut -d / -f 5 | sort -n | head -1 || true)
[ -n "$shard" ] || { echo "the broker has no thread named shard-0" >&2; exit 1; }
status=0
timeout -s INT "$seconds" strace -qq -c -o "$data/calls" -p "$shard" || status=$?
[ "$status" = 124 ] || { echo "strace ended with $status; may we trace?" >&2; exit 1; }
kill -0 "$load" || { cat "$data/load" >&2; exit 1; }
futex=$(awk '$NF == "futex" { print $4 }' "$data/calls")
echo "${futex:-0} futex calls by shard-0 in $seconds s of steady load; system calls that it made:"
cat "$data/calls"
[ "${futex:-0}" = 0 ]
