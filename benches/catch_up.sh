#!/usr/bin/env bash
# Three nodes of one shard beside one node, on this machine, with nothing pinned: what a majority costs, how long it takes until
# there is a new leader, how fast a node that was away catches up, and what the others' clients notice of that.
# Usage: benches/catch_up.sh [GIB [MB]]
#   GIB  written while a node is away, default 4: takes three times that on the disk, and three minutes
#   MB   a disk of its own for each node, that reads and writes so many MB/s, in memory: takes root, ext4, and three times
#        GIB + 3 GiB of memory; two CPUs have room for 100 MB/s each
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
gib=${1:-4}
own_mb=${2:-}
seconds=5
kills=5
topic=load
cargo build --release --quiet -p hutong -p hutong-load -p hutong-hist
bin=${CARGO_TARGET_DIR:-target}/release
export HUTONG_BIN=$bin/hutong
# shellcheck source=tests/interop/broker.sh
source tests/interop/broker.sh
data=$(mktemp -d)
declare -A pids=()
load=''
cgroup=''
stop_all() {
    local pid
    for pid in $load "${pids[@]}"; do
        kill -KILL "$pid" 2>/dev/null || true
        { wait "$pid" || true; } 2>/dev/null
    done
    load='' pids=()
}
trap 'stop_all; remove_disks; rm -rf --one-file-system "$data"' EXIT
trap 'exit 130' INT TERM

fail() {
    echo "$1" >&2
    tail -n 5 "$data"/*.log >&2
    exit 1
}

# make_disks NODE...: each gets a file system of its own, on a loop device over a file in memory, and what runs in $cgroup reads
# and writes so many MB/s of each. remove_disks takes them away again.
make_disks() {
    local node number bytes=$((own_mb * 1000000))
    cgroup=/sys/fs/cgroup/hutong-bench-$$
    if [[ -d /sys/fs/cgroup/blkio ]]; then
        cgroup=/sys/fs/cgroup/blkio/hutong-bench-$$
    else
        echo +io >/sys/fs/cgroup/cgroup.subtree_control
    fi
    mkdir "$cgroup" "$data/memory"
    mount -t tmpfs -o size=100% memory "$data/memory"
    for node in "$@"; do
        mkdir "$data/$node"
        # Memory that was used before is faster, here, too.
        head --bytes=$((gib + 3))G /dev/zero >"$data/memory/$node"
        mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$data/memory/$node"
        mount -o loop "$data/memory/$node" "$data/$node"
        number=$(findmnt --noheadings --output MAJ:MIN --target "$data/$node" | tr -d ' ')
        if [[ -e $cgroup/io.max ]]; then
            echo "$number rbps=$bytes wbps=$bytes" >"$cgroup/io.max"
        else
            echo "$number $bytes" >"$cgroup/blkio.throttle.read_bps_device"
            echo "$number $bytes" >"$cgroup/blkio.throttle.write_bps_device"
        fi
    done
}
remove_disks() {
    local at
    for at in "$data"/*/; do
        ! mountpoint --quiet "$at" || umount "$at"
    done
    [[ -z $cgroup ]] || rmdir "$cgroup"
}
# on_disk COMMAND...: runs it in $cgroup, if there is one.
on_disk() {
    [[ -z $cgroup ]] || echo "$BASHPID" >"$cgroup/cgroup.procs"
    exec "$@"
}

# start NODE FLAGS...: in the background; await_ready waits for it.
start() {
    local node=$1
    shift
    mkdir -p "$data/$node"
    on_disk "$hutong" serve --data-dir "$data/$node/data" --shards 1 --no-pin --metrics 127.0.0.1:0 "$@" 2>"$data/$node.log" &
    pids[$node]=$!
}
await_ready() {
    local i
    for ((i = 0; i < 600; i++)); do
        grep -q '^hutong ready:' "$data/$1.log" && return
        sleep 0.1
    done
    fail "node $1 did not get ready"
}
start_node() {
    start "$1" --node-id "$1" --cluster-id bench --peers "$peers" --groups 1
}
kill_node() {
    kill -KILL "${pids[$1]}"
    { wait "${pids[$1]}" || true; } 2>/dev/null
    unset "pids[$1]"
}

# position NODE WHICH: how far the journal of group 0 is there, in bytes; 0 if it doesn't say.
position() {
    local port
    port=$(sed -n 's|.*metrics at http://[^:]*:\([0-9]*\)/.*|\1|p' "$data/$1.log")
    {
        exec 3<>"/dev/tcp/127.0.0.1/${port:-0}" && printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3 &&
            awk -v which="position=\"$2\"" '/^hutong_group_position_bytes/ && index($0, which) { n = $NF } END { printf "%.0f\n", n }' <&3
        exec 3>&-
    } 2>/dev/null || echo 0
}
# leader PORT: the node that leads, as the one at this port knows; 0 if it knows none.
leader() {
    "$hutong" topic describe "$topic" --bootstrap "127.0.0.1:$1" --json 2>/dev/null |
        python3 -c 'import json, sys; print(max(0, json.load(sys.stdin)[0]["partitions"][0]["leader"]) // 1000)' || echo 0
}
# await_leader: the node that leads, not NODE, in $leads, as the node behind NODE knows.
await_leader() {
    local i
    for ((i = 0; i < 1000; i++)); do
        leads=$(leader $((port + ${1:-0} % 3)))
        [[ $leads != 0 && $leads != "${1:-0}" ]] && return
    done
    fail "no leader"
}
# field FILE WHICH...: of a result in JSON.
field() {
    python3 -c '
import functools, json, sys
print(functools.reduce(lambda at, key: at[key], sys.argv[2:], json.load(open(sys.argv[1]))))' "$@"
}
# calculate EXPRESSION FORMAT
calculate() {
    awk "BEGIN { printf \"${2:-%.2f}\", $1 }"
}
# measure NAME ADDRESS: single records, many in flight and one.
measure() {
    "$bin/hutong-load" produce --brokers "$2" --connections 4 --in-flight 512 --duration "${seconds}s" --json >"$data/$1-many"
    "$bin/hutong-load" produce --brokers "$2" --in-flight 1 --duration "${seconds}s" --json >"$data/$1-one"
    printf '%-12s %9.0f requests/s; one in flight: p50 %.0f us, p99 %.0f us\n' "$1" \
        "$(field "$data/$1-many" produced requests_per_second)" \
        "$(calculate "$(field "$data/$1-one" latency produce p50_ns) / 1000" %.0f)" \
        "$(calculate "$(field "$data/$1-one" latency produce p99_ns) / 1000" %.0f)"
}

# --- The disk.
[[ -z $own_mb ]] || make_disks 1 2 3
mkdir -p "$data/1"
(on_disk "$hutong" doctor "$data/1" --json >"$data/doctor") || true
raw() {
    python3 -c '
import json, sys
print(*[c["data"]["bytes_per_second"] / 1e6 for c in json.load(open(sys.argv[1]))["checks"] if c["name"] == sys.argv[2]])' "$data/doctor" "$1"
}
raw_write=$(raw disk.write_64k_dsync_x8) raw_read=$(raw disk.read_128k_x4)
# A disk in a cgroup is faster for a moment than for long.
[[ -z $own_mb ]] || raw_write=$own_mb raw_read=$own_mb
printf 'the disk: durable writes of 64 KiB, 8 in flight, %.0f MB/s; reads of 128 KiB, 4 in flight, %.0f MB/s\n' "$raw_write" "$raw_read"

# --- One node, then three.
broker_shards=1 port=$(free_ports)
start 1 --listen "127.0.0.1:$port"
await_ready 1
measure "one node" "127.0.0.1:$port"
stop_all
rm -rf "$data/1/data"
broker_shards=3 port=$(free_ports)
peers='' bootstrap=''
for node in 1 2 3; do
    peers+="${peers:+,}$node@127.0.0.1:$((port + node - 1))"
    bootstrap+="${bootstrap:+,}127.0.0.1:$((port + node - 1))"
done
for node in 1 2 3; do start_node "$node"; done
for node in 1 2 3; do await_ready "$node"; done
measure "three nodes" "$bootstrap"
ratio() {
    calculate "$(field "$data/three nodes-$1" "${@:2}") / $(field "$data/one node-$1" "${@:2}")"
}
echo "three to one: throughput $(ratio many produced requests_per_second), p50 of one in flight $(ratio one latency produce p50_ns)"

# --- A leader dies.
printf 'kill -9 of the leader; another one is known after'
for ((i = 0; i < kills; i++)); do
    await_leader
    dead=$leads
    kill_node "$dead"
    began=${EPOCHREALTIME/./}
    await_leader "$dead"
    printf ' %d' $(((${EPOCHREALTIME/./} - began) / 1000))
    start_node "$dead"
    await_ready "$dead"
    # Until it has all and leads again, if it should.
    sleep 3
done
echo ' ms'

# --- A node is away.
await_leader
away=$((leads % 3 + 1))
"$bin/hutong-load" e2e --brokers "$bootstrap" --topic tail --rate 1000 --record-bytes 1024 --warmup 2s --duration 1h \
    --interval 250ms --hlog "$data/tail.hlog" --json >"$data/tail" 2>"$data/tail.log" &
load=$!
now() { echo "$EPOCHREALTIME"; }
# watch NODE NODE: how far two journals are, in $at and $end, once a second. Asking takes its part of two CPUs, so what is
# compared is measured beside it, too.
watch() {
    sleep 1
    at=$(position "$1" flush) end=$(position "$2" flush)
}
rest() {
    local i
    for ((i = 0; i < 10; i++)); do watch "$leads" "$leads"; done
}
sleep 4
three_began=$(now)
rest
three_ended=$(now)
kill_node "$away"
written=$(position "$leads" append)
"$bin/hutong-load" produce --brokers "$bootstrap" --topic backlog --connections 4 --in-flight 16 --batch-records 64 \
    --record-bytes 1024 --duration 1h --json >"$data/backlog" 2>"$data/backlog.log" &
backlog=$!
pids[backlog]=$backlog
while (($(position "$leads" append) < written + gib * 1024 * 1024 * 1024)); do
    kill -0 "$backlog" 2>/dev/null || fail "the backlog could not be written"
    sleep 0.2
done
kill "$backlog"
{ wait "$backlog" || true; } 2>/dev/null
unset 'pids[backlog]'
sleep 5
two_began=$(now)
rest
two_ended=$(now)
lacks=$(($(position "$leads" flush) - written))
start_node "$away"
back=$(now)
first='' from=0
while true; do
    watch "$away" "$leads"
    if [[ -z $first ]] && ((at > 0)); then
        [[ $from == 0 ]] && from=$at
        ((at > from)) && first=$(now) from=$at
    fi
    ((at > 0 && at + 1024 * 1024 >= end)) && break
    kill -0 "${pids[$away]}" 2>/dev/null || fail "node $away ended"
done
caught_up=$(now)
sleep 1
kill "$load"
wait "$load" || fail "the load failed: $(cat "$data/tail.log")"
load=''
rate=$(calculate "($at - $from) / 1000000 / ($caught_up - ${first:?it caught up at once})" %.0f)
printf 'a node that lacked %.1f GiB had all after %.1f s, from the first byte at %d MB/s: %.2f of raw writes, %.2f of raw reads\n' \
    "$(calculate "$lacks / 1073741824")" "$(calculate "$caught_up - $back")" "$rate" \
    "$(calculate "$rate / $raw_write")" "$(calculate "$rate / $raw_read")"

# p99 FROM TO: of what was measured in that time, in ms.
p99() {
    awk -F, -v from="$1" -v to="$2" '
        /^#\[StartTime/ { match($0, /[0-9]+\.[0-9]+/); base = substr($0, RSTART, RLENGTH) }
        !/^Tag=e2e/ { if (!/^Tag=/) print; next }
        { begin = base + $2; if (begin >= from && begin + $3 <= to) print }' "$data/tail.hlog" >"$data/part.hlog"
    "$bin/hutong-hist" show --json "$data/part.hlog" >"$data/part"
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[0]["tags"][0]["p99_ns"] / 1e6)' "$data/part"
}
three=$(p99 "$three_began" "$three_ended") two=$(p99 "$two_began" "$two_ended") catching_up=$(p99 "$back" "$caught_up")
printf 'p99 of 1,000 records/s, sent to received: %.2f ms with three nodes, %.2f ms with two, %.2f ms while one catches up: %s\n' \
    "$three" "$two" "$catching_up" \
    "$(calculate "$catching_up / $three") times that with three, $(calculate "$catching_up / $two") times that with two"
