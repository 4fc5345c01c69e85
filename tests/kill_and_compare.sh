#!/usr/bin/env bash
# Streams a file of over 100 MB, line by line, through the broker with kcat, kills the broker half way with
# kill -9, starts it again on the same directory, and then wants every line back exactly once and in order.
#   tests/kill_and_compare.sh
# Needs target/release/hutong (cargo build --release) and kcat (apt-get install kcat). Exit code 0 is a pass.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=interop/broker.sh
source "$here/interop/broker.sh"

lines=700000
partitions=4
topic=lines
produce_seconds_max=120

scratch=$(mktemp -d)
pids=()
cleanup() {
    local pid
    # kcat's pipeline, if we end before it does.
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    if broker_is_alive; then kill_broker; fi
    rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

say() { echo "$(printf '%4d s' "$SECONDS")  $*"; }

fail() {
    say "FAIL: $*"
    if [[ -s $scratch/kcat.log ]]; then echo "--- kcat's last words:" && tail -n 5 "$scratch/kcat.log"; fi
    if [[ -s $scratch/broker.log ]]; then echo "--- the broker's last words:" && tail -n 20 "$scratch/broker.log"; fi
    exit 1
}

# Lines as a web shop might log them, of 60 to 400 bytes, the same in every run. The random numbers are our
# own: each awk has others. The products stay below 2^53, so that they are exact in awk's floating point.
make_lines() {
    awk -v lines="$1" '
        function random(below) {
            x = (x * 69069 + 1) % 4294967296
            return int(x / 65536) % below
        }
        function id() { return sprintf("%04x%04x%04x", random(65536), random(65536), random(65536)) }
        BEGIN {
            x = 20240229
            services = split("cart checkout payment stock search mail login pictures", service, " ")
            levels = split("INFO INFO INFO INFO DEBUG DEBUG WARN ERROR", level, " ")
            words = split("order payment retry timeout refund basket customer address invalid accepted cache miss " \
                "connection pool exhausted shipped zürich 北京 naïve \"quoted\" back\\slash tab\there {json:1} 100%", word, " ")
            for (n = 1; n <= lines; n++) {
                at = int(n / 40)
                text = ""
                for (w = random(24); w > 0; w--) text = text " " word[random(words) + 1]
                printf "2024-02-29T%02d:%02d:%02d.%03d %s %s request=%s user=%d status=%d took=%dus%s\n", \
                    int(at / 3600) % 24, int(at / 60) % 60, at % 60, n % 40 * 25, level[random(levels) + 1], \
                    service[random(services) + 1], id(), random(50000), 200 + 100 * random(4) + random(5), \
                    random(65536) * 7, text
            }
        }'
}

# Reads one partition from its beginning to its end: partition, offset, key and value of each record.
read_partition() {
    timeout 60 kcat -C -q -b "$bootstrap" -t "$topic" -p "$1" -o beginning -e -X check.crcs=true -f '%p\t%o\t%k\t%s\n'
}

# --- A broker, a file of lines, a topic.

command -v kcat >/dev/null || fail "kcat is not installed (apt-get install kcat)"

port=$(free_ports)
bootstrap=127.0.0.1:$port
start_broker "$scratch/data" "$port" "$scratch/broker.log" || fail "no broker"
say "broker ready on $bootstrap"

make_lines "$lines" >"$scratch/lines"
bytes=$(wc -c <"$scratch/lines")
((bytes > 100000000)) || fail "the file has only $bytes bytes"
say "made a file of $lines lines, $((bytes / 1000000)) MB"

"$hutong" topic create "$topic" --partitions "$partitions" --bootstrap "$bootstrap" >"$scratch/create" 2>&1 ||
    fail "the topic could not be created: $(<"$scratch/create")"

# --- Stream it, and kill the broker half way.

# Each line gets its number as key, so that it can be traced, and kcat puts a key always into the same
# partition (consistent: CRC-32 of the key); what one partition holds must then be in rising order.
# The feeder doesn't wait for anything half way, so the kill comes while requests are under way.
mkfifo "$scratch/pipe"
{
    awk '{ print NR "\t" $0 }' "$scratch/lines" >"$scratch/keyed"
    head -n $((lines / 2)) "$scratch/keyed"
    : >"$scratch/half"
    tail -n +$((lines / 2 + 1)) "$scratch/keyed"
} >"$scratch/pipe" &
pids+=($!)

# -E: stay when all brokers are gone. enable.idempotence retries without end, and only message.timeout.ms
# bounds it.
timeout "$produce_seconds_max" kcat -P -E -b "$bootstrap" -t "$topic" -K $'\t' \
    -X acks=all -X enable.idempotence=true -X partitioner=consistent \
    -X message.timeout.ms=$((produce_seconds_max * 1000)) -X reconnect.backoff.max.ms=1000 \
    <"$scratch/pipe" >"$scratch/kcat.log" 2>&1 &
kcat_pid=$!
pids+=("$kcat_pid")

until [[ -e $scratch/half ]]; do
    kill -0 "$kcat_pid" 2>/dev/null || fail "kcat ended before half of the lines were sent"
    sleep 0.01
done
kill_broker
say "killed the broker with kill -9 after $((lines / 2)) lines went into kcat"
sleep 1
kill -0 "$kcat_pid" 2>/dev/null || fail "kcat did not outlive the broker"

start_broker "$scratch/data" "$port" "$scratch/broker.log" || fail "no broker after the kill"
say "broker ready again"
status=0
wait "$kcat_pid" || status=$?
((status == 0)) || fail "kcat ended with exit status $status"
say "kcat has all $lines lines acknowledged"

# --- Read it back, and compare.

for ((p = 0; p < partitions; p++)); do
    read_partition "$p" >"$scratch/read.$p" 2>"$scratch/kcat.log" || fail "partition $p could not be read"
    # Prints what is wrong with this partition alone, the first few of each kind.
    awk -F '\t' -v partition="$p" '
        function wrong(what, than) {
            if (++count[what] <= 3) print "partition " partition ": " what " at offset " $2 ", line " $3 than
        }
        $1 != partition { wrong("a record of another partition", ": " $1) }
        $2 != NR - 1 { wrong("the offsets are not dense", ": record " NR - 1) }
        $3 in seen { wrong("a line for the second time") }
        !($3 in seen) && $3 + 0 <= last { wrong("a line out of order", ": came after line " last) }
        { seen[$3]; last = $3 + 0 }
    ' "$scratch/read.$p" >>"$scratch/wrong"
    say "partition $p: read $(wc -l <"$scratch/read.$p") lines"
    [[ -s $scratch/read.$p ]] || echo "partition $p: empty" >>"$scratch/wrong"
done

# Merged by line number, the partitions must give the file again: no line missing, changed or there twice.
sort --merge --numeric-sort --key=3,3 --field-separator=$'\t' "$scratch"/read.? | cut -f 4- >"$scratch/merged"
if ! cmp "$scratch/lines" "$scratch/merged" >>"$scratch/wrong" 2>&1; then
    missing=$(comm -23 <(seq "$lines" | sort) <(cut -f 3 "$scratch"/read.? | sort -u) | sort -n)
    if [[ -n $missing ]]; then
        echo "$(wc -l <<<"$missing") lines are missing, from line ${missing%%$'\n'*} to ${missing##*$'\n'}" >>"$scratch/wrong"
    fi
fi
if [[ -s $scratch/wrong ]]; then
    cat "$scratch/wrong"
    fail "what was read is not what was sent"
fi

stop_broker || fail "the broker did not stop well"
say "PASS: all $lines lines are there, exactly once and in order, over a kill -9"
