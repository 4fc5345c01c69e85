# Starts and stops a broker of our own; to be sourced. Nothing here touches a process it didn't start.
# shellcheck shell=bash

# $HUTONG_BIN lets a debug build, or another broker behind the same arguments, take the same tests.
hutong=${HUTONG_BIN:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/target/release/hutong}
broker_shards=2
broker_pid=

# newest_installed NAME: where tests/interop/run has installed it last.
newest_installed() {
    local cache=${HUTONG_INTEROP_CACHE:-$HOME/.cache/hutong-interop} found
    found=$(find "$cache" -maxdepth 2 -path "*/$1-*/complete" -printf '%T@ %h\n' 2>/dev/null | sort -n | tail -n 1)
    [[ -n $found ]] || {
        echo "$1 is not installed: run tests/interop/run first" >&2
        return 1
    }
    echo "${found#* }"
}

port_is_free() {
    ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Shard s listens on port + s, so the ports must be neighbours; and they must lie outside of the range from
# which the kernel gives ports to connections: while a broker is down, a client that keeps trying to connect
# to a port of that range sooner or later is connected to itself.
free_ports() {
    local lowest highest attempt port i
    read -r lowest _ </proc/sys/net/ipv4/ip_local_port_range
    highest=$((lowest > 12000 ? lowest : 32768))
    for attempt in {1..200}; do
        port=$((10000 + (RANDOM * 32768 + RANDOM) % (highest - 10000 - broker_shards)))
        for ((i = 0; i < broker_shards; i++)); do
            port_is_free $((port + i)) || continue 2
        done
        echo "$port"
        return
    done
    echo "no free ports found in $attempt attempts" >&2
    return 1
}

# start_broker DATA_DIR PORT LOG [OPTION]...: returns when the broker says that it is ready.
start_broker() {
    local data_dir=$1 port=$2 log=$3 said i
    shift 3
    if [[ ! -x $hutong ]]; then
        echo "there is no $hutong: run cargo build --release first" >&2
        return 1
    fi
    said=$(ready_count "$log")
    "$hutong" serve --data-dir "$data_dir" --listen "127.0.0.1:$port" --shards "$broker_shards" --no-pin \
        --default-partitions 4 "$@" </dev/null >>"$log" 2>&1 &
    broker_pid=$!
    for ((i = 0; i < 600; i++)); do
        # The log goes on over a restart: only a line that is new counts.
        (($(ready_count "$log") > said)) && return
        broker_is_alive || break
        sleep 0.1
    done
    echo "the broker did not get ready; its last words:" >&2
    tail -n 20 "$log" >&2
    return 1
}

ready_count() {
    if [[ -e $1 ]]; then grep -c '^hutong ready:' "$1" || true; else echo 0; fi
}

broker_is_alive() {
    [[ -n $broker_pid ]] && kill -0 "$broker_pid" 2>/dev/null
}

# As kill -9 would end it; also waits, so that its ports are free again.
kill_broker() {
    kill -KILL "$broker_pid"
    # The shell would report the death of a job that it still waits for.
    { wait "$broker_pid" || true; } 2>/dev/null
    broker_pid=
}

# Asks politely first. Fails if the broker had died by itself before, or doesn't stop when asked.
stop_broker() {
    local i
    [[ -n $broker_pid ]] || return 0
    if ! broker_is_alive; then
        broker_pid=
        echo "the broker had died" >&2
        return 1
    fi
    kill -TERM "$broker_pid"
    for ((i = 0; i < 100; i++)); do
        if ! broker_is_alive; then
            wait "$broker_pid" 2>/dev/null || true
            broker_pid=
            return 0
        fi
        sleep 0.1
    done
    echo "the broker did not stop within 10 s of SIGTERM" >&2
    kill_broker
    return 1
}
