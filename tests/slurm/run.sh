#!/usr/bin/env bash
# The Slurm scripts on a real Slurm of one node, set up in a temporary folder and taken down again; two minutes. Needs root; slurm-wlm
# and munge are installed where they are missing. tests/slurm/run.sh [BUILD]
#
#   srun:   a job of two tasks is signalled before its time is up, saves itself, is queued again, goes on, and ends with the bits of
#           an uninterrupted run
#   mpirun: the same through mpirun.sbatch, signalled by hand
#   array:  a job for each line, all done
#   cancel: a cancelled job of either kind saves itself and is not queued again
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD build=$(realpath "${1:-build}")
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mpi_yield_when_idle=1

export PATH=$PATH:/usr/sbin
for program in slurmctld slurmd munged sbatch; do
  command -v $program >/dev/null && continue
  install=(apt-get install -y --no-install-recommends slurm-wlm munge)
  "${install[@]}" >/dev/null || { apt-get update >/dev/null && "${install[@]}" >/dev/null; } || { echo "missing $program: ${install[*]}" >&2; exit 2; }
done
# A requeued job is held back for cred_expire seconds, by default two minutes.
work=$(mktemp -d) host=$(hostname -s)
stop() {
  for file in "$work"/slurmctld.pid "$work"/slurmd.pid; do [[ -s $file ]] && kill "$(<"$file")" 2>/dev/null || true; done
  [[ -z ${munge:-} ]] || kill -- -"$munge" 2>/dev/null || true  # su and the daemon under it
  sleep 1
  rm -rf "$work"
}
trap stop EXIT

cat >"$work/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
AuthType=auth/munge
AuthInfo=cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=5
SchedulerParameters=batch_sched_delay=1,sched_interval=1
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000
PartitionName=debug Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
CONF
mkdir -p "$work/state" "$work/spool" /run/munge
chown munge: /run/munge
if ! munge -n 2>/dev/null | unmunge >/dev/null 2>&1; then
  setsid su -s /bin/sh munge -c "exec /usr/sbin/munged --foreground" >"$work/munged.log" 2>&1 &
  munge=$!
  sleep 1
fi
export SLURM_CONF=$work/slurm.conf
slurmctld -c
sleep 2
slurmd -N "$host"
sleep 3
sinfo

mkdir -p "$work/bin"
ln -s "$root/launch" "$work/launch"
for program in "$build"/layalign-*; do [[ -x $program && -f $program ]] && ln -s "$program" "$work/bin/"; done
for i in $(seq 10 24); do printf '{"source": [5, %d, 9, 1], "prompt": [7, 8], "target": [%d, 30, 2]}\n' "$i" "$i"; done >"$work/corpus.jsonl"
# Long enough for the time limit's signal, 40 s on an idle machine: Slurm looks at limits every 30 s only.
models=$root/tests/data/golden/models
cat >"$work/run.yaml" <<YAML
model: {encoder: $models/mt5, llm: $models/llama}
parallel: {device: cpu, threads: 1, tensor: 2}
stages:
  - {name: only, corpus: {format: token_ids, path: corpus.jsonl}, prompt: true, epochs: 6000, global_batch: 4, lr: 1.0e-3, dev_size: 3, eval_every: 1000}
checkpoint: {every: 100000}
YAML
small=(--chdir="$work" --nodes=1 --ntasks-per-node=2 --gpus-per-node=0 --cpus-per-task=1 --time=10)

wait_for() {  # seconds, command...
  local left=$1
  shift
  until "$@"; do
    ((left-- > 0)) || { echo "in vain: $*" >&2; squeue >&2; scontrol show job --oneliner >&2; tail -n 40 "$work"/*.out >&2; exit 1; }
    sleep 1
  done
}
has_steps() { [[ -f $work/$1/metrics.jsonl && $(wc -l <"$work/$1/metrics.jsonl") -ge 20 ]]; }
is_finished() { [[ -f $work/$1/summary.json ]]; }
is_gone() { [[ -z $(squeue -h -j "$1" 2>/dev/null) ]]; }
expect_same() {
  cmp "$work/$1/1-only/trainables.safetensors" "$work/whole/1-only/trainables.safetensors"
  [[ $(wc -l <"$work/$1/metrics.jsonl") -eq $(wc -l <"$work/whole/metrics.jsonl") ]]
  echo "$1: saved, queued again, went on, the same bits"
}

(cd "$work" && mpirun -n 2 --bind-to none bin/layalign-train run.yaml --set output=whole >whole.log 2>&1)

cd "$work"  # jobs find launch/slurm and bin where they were submitted
is_saved() { grep -q 'the same command goes on' "$work/$1.out"; }
with_srun=$(sbatch --parsable "${small[@]}" --output=srun.out --time=1 --signal=USR1@53 launch/slurm/srun.sbatch run.yaml --set "output=$work/srun")
with_mpirun=$(sbatch --parsable "${small[@]}" --output=mpirun.out launch/slurm/mpirun.sbatch run.yaml --set "output=$work/mpirun")
wait_for 60 has_steps mpirun
scancel --signal=USR1 --batch "$with_mpirun"
wait_for 30 is_saved mpirun
wait_for 90 is_saved srun
wait_for 30 scontrol update JobId="$with_srun" TimeLimit=10  # time enough to end

for kind in srun mpirun; do
  job=$(sbatch --parsable "${small[@]}" --output="cancel-$kind.out" "launch/slurm/$kind.sbatch" run.yaml --set "output=$work/cancel-$kind")
  wait_for 60 has_steps "cancel-$kind"
  scancel "$job"
  wait_for 30 is_gone "$job"
  is_saved "cancel-$kind"
  echo "$kind: cancelled, saved, not queued again"
done

for i in 1 2 3 4; do echo "run.yaml --set seed=$i --set output=$work/array-$i --set stages.0.epochs=20"; done >"$work/lines"
array=$(sbatch --parsable "${small[@]}" --output=array-%a.out --array=1-4%2 launch/slurm/array.sbatch lines)
wait_for 120 is_gone "$array"
for i in 1 2 3 4; do is_finished "array-$i"; done
echo 'array: 4 of 4 done'

wait_for 240 is_finished srun
wait_for 240 is_finished mpirun
expect_same srun
expect_same mpirun
