"""D10: failures of all kinds in a row on one output folder, each followed by the same command; then the run is let through to its end."""
import collections
import random
import signal

import jobs

RANKS = 2
EPOCHS = 75
STEPS_A_STAGE = 4 * EPOCHS
# Short, so that a stopped rank is found soon, but not so short that a busy machine is taken for one.
WATCHDOG = {"set_up": "5m", "step": "10s", "save": "10s", "evaluation": "10s"}
STEPS_TO_STRIKE = 4  # a strike comes after as many new steps at most
FILE_CHANGES = 300  # a file fault comes at one of the first so many: a few steps

# What a job ends with; None: any failure, for mpirun has its own status there.
KINDS = {
    "SIGKILL of a rank": jobs.KILLED,
    "SIGSTOP of a rank": jobs.HELD_UP,
    "SIGTERM of a rank": jobs.SAVED,
    "SIGTERM of mpirun": None,
    "SIGUSR1 of mpirun": jobs.SAVED,
    "full disk": jobs.NO_SPACE,
    "kill -9 at a change of a file": jobs.KILLED,
}
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGSTOP": signal.SIGSTOP, "SIGTERM": signal.SIGTERM, "SIGUSR1": signal.SIGUSR1}
FAULTS = {"full disk": "ENOSPC", "kill -9 at a change of a file": "kill"}


def failed_job(rng, command, kind):
    """Starts the command and has it fail; returns where, its exit code, and the job."""
    if kind in FAULTS:
        fault = f"{FAULTS[kind]}:{rng.randint(1, FILE_CHANGES)}"
        job = command.start(fault)
        return fault, job.end(120), job
    name, _, target = kind.partition(" of ")
    # By its checkpoints: a record may hold steps that the run before has done and not saved.
    steps = jobs.steps_saved(command.output, STEPS_A_STAGE) + rng.randint(1, STEPS_TO_STRIKE)
    job = command.start()
    job.wait_until(lambda: jobs.steps_saved(command.output, STEPS_A_STAGE) >= steps)
    job.wait_until(lambda: False, rng.uniform(0, 0.03))
    ranks = job.ranks()
    if job.lives() and ranks:
        jobs.send(job.process.pid if target == "mpirun" else rng.choice(ranks), SIGNALS[name])
    return f"after step {jobs.steps_done(command.output)}", job.end(120), job


def problems_of(kind, code, job):
    if code is None:
        return [f"the job did not end in 120 s: {job.stuck}"]
    expected = KINDS[kind]
    right = code != jobs.DONE if expected is None else code == expected
    problems = [] if right else [f"exit code {code}, expected {expected or 'a failure'}: {job.last_words()}"]
    if kind == "SIGSTOP of a rank" and "has given no sign of life" not in job.log():
        problems.append(f"the watchdog names no silent rank: {job.last_words()}")
    return problems


def run(tally, programs, work, count, seed):
    """count: failures."""
    rng = random.Random(seed)
    config = jobs.write_config(work, jobs.two_stages(EPOCHS))
    settings = ["parallel.tensor=2", *(f"watchdog.{section}={limit}" for section, limit in WATCHDOG.items())]
    whole, output = work / "whole", work / "run"
    whole_s = jobs.reference_run(tally, programs, config, whole, RANKS, settings)
    if whole_s is None:
        return tally.summary("soak", "the run that nothing happens to failed")
    print(f"{2 * STEPS_A_STAGE} steps in {whole_s:.1f} s", flush=True)
    kinds = [list(KINDS)[number % len(KINDS)] for number in range(count)]
    rng.shuffle(kinds)
    command, lost, seconds = jobs.Command(programs, config, output, RANKS, settings), collections.Counter(), 0
    for number, kind in enumerate(kinds, 1):
        if tally.is_late():
            kinds = kinds[:number - 1]
            break
        record = jobs.read(output / "metrics.jsonl")
        place, code, job = failed_job(rng, command, kind)
        gone_s = command.seconds_until_gone()
        problems = problems_of(kind, code, job) + ([f"ranks lived on for {gone_s:.1f} s"] if gone_s > jobs.RANKS_GONE_S else [])
        seconds += job.seconds
        saved = jobs.steps_saved(output, STEPS_A_STAGE)
        # Where the record is as it was, the job did no step, and what lies behind the checkpoint was lost before.
        lost_here = jobs.steps_done(output) - saved if jobs.read(output / "metrics.jsonl") != record else 0
        lost[kind] += lost_here
        tally.case(f"{number}. {kind}, {place}: exit code {code}, {saved} steps saved, {lost_here} lost", problems)
    job = command.start()
    code = job.end()
    problems = [] if code == jobs.DONE else [f"exit code {code}: {job.last_words()}"]
    tally.case(f"the command once more, to the end, in {job.seconds:.1f} s: same bits, same lines",
               problems or jobs.differences(whole, output))
    print("steps lost: " + ", ".join(f"{lost[kind]} by {kinds.count(kind)} x {kind}" for kind in KINDS), flush=True)
    return tally.summary("soak", f"{len(kinds)} failures, {sum(lost.values())} steps lost of {2 * STEPS_A_STAGE + sum(lost.values())} done, "
                                 f"{seconds + job.seconds:.0f} s instead of {whole_s:.0f} s")
