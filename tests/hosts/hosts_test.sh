#!/usr/bin/env bash
# Three hosts on one machine, by network namespaces and mounts of their own: a broker with the photographs and weights, and
# two workers that see nothing of its files. A run is submitted; one worker's link is cut, and mended; the other worker's
# host is killed; the run is done, each result once, and the same as on one machine. What went over the wire is captured:
# it shows nothing of a word that is in the job, and the same without keys on loopback does. BUILD SOURCE
set -euo pipefail
build=$1 source=$2
skip() {
    echo "skipped: $*"
    exit 77
}
if [ "${3:-}" != inside ]; then
    for program in ip tcpdump unshare; do
        PATH=$PATH:/usr/sbin:/sbin command -v $program >/dev/null || skip "there is no $program here"
    done
    [ "$(id -u)" = 0 ] || skip "tcpdump wants to be root"
    unshare --net --mount true 2>/dev/null || skip "namespaces are not allowed here"
    exec unshare --net --mount --pid --fork --kill-child --mount-proc "$0" "$build" "$source" inside
fi

export PATH=$build/bin:$build/tests:$PATH:/usr/sbin:/sbin
mount -t tmpfs tmpfs /run
ip netns add probe 2>/dev/null || skip "network namespaces cannot be named here"
ip netns delete probe
folder=$(mktemp -d)
word=velvet_rhinoceros
trap 'status=$?; [ $status = 0 ] || tail -n 15 "$folder"/*.log; kill -9 $(jobs -p) 2>/dev/null; rm -rf "$folder"; exit $status' EXIT

source "$source/tests/within.sh"

# ---- three hosts at one switch ----

ip link set lo up
ip link add switch type bridge
ip link set switch up
number=1
for host in broker one two; do
    ip netns add $host
    ip link add to_$host type veth peer name eth0 netns $host
    ip link set to_$host master switch up
    ip -n $host addr add 10.77.0.$number/24 dev eth0
    ip -n $host link set eth0 up
    ip -n $host link set lo up
    number=$((number + 1))
done
on() {
    local host=$1
    shift
    ip netns exec "$host" "$@"
}
mkdir -m 700 "$folder/there" "$folder/keys" "$folder/one" "$folder/two"
# Where the broker's folder is, the others have an empty one.
elsewhere() {
    local host=$1
    shift
    on "$host" sh -c 'mount -t tmpfs tmpfs "$1" && shift && exec "$@"' sh "$folder/there" "$@"
}

# ---- the job ----

parchmill keygen --role broker --out "$folder/keys/broker" >/dev/null 2>&1
for role in worker client; do
    parchmill keygen --role $role --out "$folder/keys/$role" 2>/dev/null
done >"$folder/there/allow"
parchmill demo --images-only --limit 300 --out "$folder/there/$word" >/dev/null 2>&1
cp "$source/tools/demo/demo_resnet20.safetensors" "$folder/there/"
order=(--model cifar_resnet20 --weights "$folder/there/demo_resnet20.safetensors" --images "$folder/there/$word"
    --method ig --steps 60 --evaluate --name "$word")
as_client=(--broker tcp://10.77.0.1:7071 --key "$folder/keys/client.key" --broker-key "$folder/keys/broker.pub")

on broker tcpdump -i eth0 -w "$folder/wire.pcap" -Z root -U --immediate-mode 2>"$folder/tcpdump.log" &
within 10 grep -q listening "$folder/tcpdump.log"
on broker parchmill-broker --db "$folder/there/r.db" --listen tcp://10.77.0.1:7071 --key "$folder/keys/broker.key" \
    --allow "$folder/there/allow" 2>"$folder/broker.log" &
work() {
    elsewhere "$1" parchmill-worker --broker tcp://10.77.0.1:7071 --key "$folder/keys/worker.key" \
        --broker-key "$folder/keys/broker.pub" --threads 1 --cache "$folder/$1" 2>"$folder/$1.log" &
}
work one
work two
run=$(on broker parchmill submit "${as_client[@]}" "${order[@]}" 2>"$folder/submit.log")

# Asked from a host that has nothing of the broker's.
ask() { elsewhere one parchmill sql "${as_client[@]}" --format csv "$1" | tail -n 1; }
ask_there() { on broker parchmill sql "${as_client[@]}" --format csv "$1" | tail -n 1; }
done_items() { ask_there "SELECT items_done FROM run_progress WHERE run = $run"; }
at_least() { [ "$(done_items)" -ge "$1" ]; }
workers() { on broker parchmill workers "${as_client[@]}" --json | grep -o '"threads"' | wc -l; }
workers_are() { [ "$(workers)" = "$1" ]; }

within 60 at_least 10
within 20 workers_are 2
[ "$(ask "SELECT count(*) FROM result")" -ge 10 ]
echo "two workers, questions from afar"

# ---- a link is cut, and mended ----

ip link set to_one down
within 20 workers_are 1
before=$(done_items)
within 60 at_least $((before + 5))
ip link set to_one up
within 60 workers_are 2
echo "a link was down and is up again"

# ---- a host dies ----

before=$(done_items)
kill -9 $(ip netns pids two)
ip netns delete two
within 20 workers_are 1
[ "$(done_items)" -lt 300 ] || { echo "the run was over too soon"; exit 1; }
finished() { [ "$(ask_there "SELECT state FROM run_progress WHERE run = $run")" = done ]; }
within 180 finished
[ "$(ask "SELECT count(*) FROM result")" = 300 ]
[ "$(ask "SELECT count(*) FROM failure")" = 0 ]
echo "a host was killed; the run is done"

# ---- the same as on one machine ----

pkill -x parchmill-broke
within 20 grep -q broker.stopped "$folder/broker.log"
parchmill run "${order[@]}" --db "$folder/local.db" --workers 2 --threads 1 --quiet >/dev/null 2>"$folder/local.log"
store_dump "$folder/there/r.db" >"$folder/there.dump"
store_dump "$folder/local.db" >"$folder/local.dump"
[ -s "$folder/local.dump" ]
cmp "$folder/there.dump" "$folder/local.dump"
echo "every number is that of one machine"

# ---- what was on the wire ----

pkill -x tcpdump
within 10 sh -c '! pgrep -x tcpdump'
[ "$(stat -c %s "$folder/wire.pcap")" -gt 100000 ]
if grep -aq "$word" "$folder/wire.pcap"; then
    echo "the job's words are on the wire"
    exit 1
fi
# The control: without keys, on loopback, a capture shows them.
tcpdump -i lo -w "$folder/plain.pcap" -Z root -U --immediate-mode 2>"$folder/plain.log" &
within 10 grep -q listening "$folder/plain.log"
parchmill-broker --db "$folder/plain.db" --listen tcp://127.0.0.1:7075 --insecure 2>"$folder/plain_broker.log" &
parchmill submit --broker tcp://127.0.0.1:7075 --insecure "${order[@]}" >/dev/null 2>&1
within 10 grep -aq "$word" "$folder/plain.pcap"
echo "nothing of the job in $(stat -c %s "$folder/wire.pcap") captured bytes"
