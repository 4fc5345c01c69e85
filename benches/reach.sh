#!/usr/bin/env bash
# What one shard reaches on CPU 0, driven from CPU 1: each figure that the README states, one after the other.
# Usage: benches/reach.sh [SECONDS]     (default 5 for each; the whole takes about three minutes)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${1:-5}
cargo build --release -p hutong -p hutong-load
bin=${CARGO_TARGET_DIR:-target}/release
data=$(mktemp -d)
broker=
stop() {
    [ -z "$broker" ] || { kill "$broker" 2>/dev/null && wait "$broker" 2>/dev/null; } || true
    broker=
}
trap 'stop; rm -rf "$data"' EXIT

# Starts a broker or a sink, and finds out where it listens.
start() {
    "$@" 2>"$data/log" &
    broker=$!
    for _ in $(seq 200); do
        at=$(sed -n 's/.*ready: .*\(127\.0\.0\.1:[0-9]*\).*/\1/p' "$data/log")
        [ -n "$at" ] && return
        sleep 0.1
    done
    cat "$data/log"
    exit 1
}
load() {
    local what=$1
    shift
    printf '\n## %s\n' "$what"
    echo "hutong-load $*"
    "$bin/hutong-load" "$@" --brokers "$at" --cpus 1 --warmup 2s --duration "${seconds}s" | tail -n +2
}

start "$bin/hutong-load" sink --listen 127.0.0.1:0 --cpu 0
load "the ceiling: a broker that only answers" produce --connections 4
load "the ceiling: one request at a time" produce --in-flight 1
load "the ceiling: 1,000 connections" produce --topic c --connections 1000 --in-flight 16
stop

start "$bin/hutong" serve --data-dir "$data/broker" --listen 127.0.0.1:0 --shards 1 --cpus 0
load "single records, one connection" produce
load "single records, 4 connections" produce --connections 4
load "one request at a time" produce --in-flight 1
load "64 connections of 250 requests/s" produce --connections 64 --rate 16000
load "64 KiB batches of 1 KiB records" produce --topic batches --in-flight 16 --connections 4 --batch-records 64 --record-bytes 1024
load "single records, 10 partitions" produce --topic p10 --partitions 10 --connections 8 --in-flight 2048
load "single records, 10,000 partitions" produce --topic p10000 --partitions 10000 --connections 8 --in-flight 2048
load "single records, 10 connections" produce --topic c --connections 10 --in-flight 1600
load "single records, 1,000 connections" produce --topic c --connections 1000 --in-flight 16
load "single records, 1,000 connections, as many in flight on each" produce --topic c --connections 1000 --in-flight 1600
load "tail consumers: produced and consumed at once" e2e --topic tail --rate 100000
for partitions in 1 16; do
    load "a backlog of $partitions partition(s) is written" produce --topic "backlog-$partitions" --partitions "$partitions" \
        --connections 4 --in-flight 16 --batch-records 16 --record-bytes 1024
    printf '\n## and read from its start\n'
    "$bin/hutong-load" consume --brokers "$at" --cpus 1 --topic "backlog-$partitions" --until-end | tail -n +2
done
load "tail consumers of large batches, as fast as it goes" e2e --topic tail-batches --partitions 2 --connections 2 --consumers 2 \
    --in-flight 16 --batch-records 64 --record-bytes 1024
printf '\n## 16 tail consumers of one topic\n'
echo "hutong-load mixed tools/load/workloads/fan-out.toml"
"$bin/hutong-load" mixed tools/load/workloads/fan-out.toml --brokers "$at" --cpus 1 | tail -n +2
printf '\n## the disk and the loopback, as the broker uses them\n'
stop
"$bin/hutong" doctor "$data" | grep -E 'disk\.(write|read)|loopback' || true
