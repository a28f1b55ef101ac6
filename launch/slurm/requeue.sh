# Sourced by the job scripts.

# SIGTERM is how Slurm ends a job: by scancel, or where its time is up. The tasks get it too and save themselves: the script stays for
# their status, but does not queue again what somebody may have cancelled.
ended=no
trap 'ended=yes' TERM

# requeue_if_saved STATUS JOB: queues the job again where the run ended with 75: it was signalled and saved itself.
requeue_if_saved() {
  if [[ $1 -eq 75 && $ended == no && ${SLURM_RESTART_COUNT:-0} -lt ${LAYALIGN_RESTARTS:-50} ]]; then scontrol requeue "$2"; fi
}
