#!/usr/bin/env bash
# Workers as a Slurm job array, with a real slurmctld, slurmd and munged on this machine: the array finds the broker and
# its key, is preempted in the middle of a run (its workers drain, nothing is blamed), goes back to the queue, and the run
# is done when it comes again. BUILD SOURCE
set -euo pipefail
build=$1 source=$2
skip() {
    echo "skipped: $*"
    exit 77
}
[ "$(id -u)" = 0 ] || skip "Slurm's daemons want root"
for program in slurmctld slurmd sbatch munged; do
    PATH=$PATH:/usr/sbin command -v $program >/dev/null || skip "there is no $program here"
done
export PATH=$build/bin:$PATH:/usr/sbin
folder=$(mktemp -d)
host=$(hostname -s)
broker=
cleanup() {
    local status=$?
    [ $status = 0 ] || tail -n 20 "$folder"/*.log "$folder"/*.out 2>/dev/null || true
    scancel --user=root 2>/dev/null || true
    [ -z "$broker" ] || kill "$broker" 2>/dev/null || true
    for name in slurmd slurmctld munged; do
        [ ! -f "$folder/run/$name.pid" ] || kill "$(cat "$folder/run/$name.pid")" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    for _ in $(seq 50); do
        pgrep -f "$folder" >/dev/null || break
        sleep 0.1
    done
    pkill -9 -f "$folder" 2>/dev/null || true
    rm -rf "$folder"
}
trap cleanup EXIT

source "$source/tests/within.sh"
ask() { parchmill sql --db "$folder/r.db" --format csv "$1" | tail -n 1; }
is() { [ "$(ask "$1")" = "$2" ]; }
more_than() { [ "$(ask "$1")" -gt "$2" ]; }

# ---- Slurm ----

chmod 755 "$folder"
mkdir "$folder/run" "$folder/state" "$folder/spool"
head -c 128 /dev/urandom >"$folder/munge.key"
chmod 400 "$folder/munge.key"
munged --force --key-file="$folder/munge.key" --socket="$folder/run/munge.socket" --pid-file="$folder/run/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munged.seed" >/dev/null 2>&1 || skip "munged does not start"
cat >"$folder/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=21317
SlurmdPort=21318
AuthType=auth/munge
AuthInfo=socket=$folder/run/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,preempt_youngest_first
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=20
ReturnToService=2
MpiDefault=none
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=low Nodes=$host Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=0 State=UP
PartitionName=high Nodes=$host PriorityTier=10 PreemptMode=OFF State=UP
END
export SLURM_CONF=$folder/slurm.conf
slurmctld || skip "slurmctld does not start"
slurmd -N "$host" || skip "slurmd does not start"
idle() { sinfo -h -p low -t idle | grep -q "$host"; }
within 30 idle || skip "Slurm's node does not come up"

# ---- a broker with keys, and a run ----

mkdir -m 700 "$folder/fleet"
parchmill keygen --role broker --out "$folder/fleet/broker" >/dev/null 2>&1
parchmill keygen --role worker --out "$folder/fleet/worker" >"$folder/allow" 2>/dev/null
echo "tcp://127.0.0.1:21320" >"$folder/fleet/broker.url"
parchmill-broker --db "$folder/r.db" --listen "ipc://$folder/s" --listen tcp://127.0.0.1:21320 \
    --key "$folder/fleet/broker.key" --allow "$folder/allow" 2>"$folder/broker.log" &
broker=$!
parchmill demo --images-only --out "$folder/demo" >/dev/null 2>&1
run=$(parchmill submit --broker "ipc://$folder/s" --model cifar_resnet20 --weights "$source/tools/demo/demo_resnet20.safetensors" \
    --images "$folder/demo" --method ig --steps 100 --evaluate --limit 150 2>/dev/null)
all=$(ask "SELECT items FROM run_progress WHERE run = $run")

# ---- two jobs of the array; a job of more weight takes their place ----

job=$(sbatch --parsable -p low --array=0-1 --output="$folder/worker_%a.out" \
    "$source/deploy/slurm/parchmill-workers.sbatch" "$folder/fleet")
within 60 more_than "SELECT count(*) FROM worker" 1
within 60 more_than "SELECT items_done FROM run_progress WHERE run = $run" 10
sbatch --parsable -p high -n 2 --output=/dev/null --wrap 'sleep 1' >/dev/null
drained() { [ "$(grep -l worker.drain "$folder"/worker_?.out | wc -l)" = 2 ] &&
    [ "$(grep -c 'worker.stop' "$folder"/worker_0.out "$folder"/worker_1.out | awk -F: '{ n += $2 } END { print n }')" = 2 ]; }
within 60 drained
done_then=$(ask "SELECT items_done FROM run_progress WHERE run = $run")
[ "$done_then" -lt "$all" ] || { echo "the run was over before anything was preempted"; exit 1; }
echo "preempted with $done_then of $all photographs done"

# ---- the array comes again; Slurm may hold it back for two minutes, but not here ----

again() {
    scontrol update job="$job" StartTime=now || true
    [ "$(scontrol show job "$job" | grep -c 'Restarts=1')" = 2 ] && [ "$(squeue -h -j "$job" -t RUNNING -r | wc -l)" = 2 ]
}
within 60 again
within 120 is "SELECT state FROM run_progress WHERE run = $run" done
is "SELECT count(*) FROM result" "$all"
is "SELECT count(*) FROM failure" 0
is "SELECT count(*) > 2 FROM worker" 1
echo "done: $all photographs, $(ask "SELECT count(*) FROM worker") workers in all"
