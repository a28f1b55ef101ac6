"""F2: kill -9 of a rank, of mpirun, or of both with all ranks, at a random time of a run; the same command again until it is done."""
import collections
import itertools
import random
import signal

import jobs

EPOCHS = 6
STEPS_A_STAGE = 4 * EPOCHS
MOST_KILLS = 6  # of a run
SHAPES = {"1 rank": (1, 1), "2 ranks, tp 2": (2, 2), "2 ranks, dp 2": (2, 1)}


def strike(rng, job):
    """Kills something of a job; returns what."""
    if job.command.ranks == 1:
        job.process.kill()
        return "the process"
    what = rng.choice(["a rank", "mpirun", "mpirun and all ranks"])
    ranks = job.ranks()
    if what == "a rank" and ranks:
        jobs.send(rng.choice(ranks), signal.SIGKILL)
    elif what == "mpirun":
        job.process.kill()
    else:  # also where a rank was meant and there is none yet
        what = "mpirun and all ranks"
        for process in [job.process.pid, *ranks]:
            jobs.send(process, signal.SIGKILL)
        job.command.kill_all()
    return what


def struck_run(rng, command, horizon_s, most, counts):
    """Starts and kills until a start comes through; returns the kills in words, how long the last start took, and what went wrong."""
    kills, problems = [], []
    while True:
        record = jobs.read(command.output / "metrics.jsonl")
        job = command.start()
        at_s = rng.uniform(0, horizon_s)
        if len(kills) < most and not job.wait_until(lambda: False, at_s) and job.lives():
            what = strike(rng, job)
            if job.end(60) is None:
                problems.append(f"{what} killed at {at_s:.2f} s: the job did not end in 60 s: {job.stuck}")
            gone_s = 0 if what == "mpirun" else command.seconds_until_gone()  # after mpirun's death the next start comes at once
            if gone_s > jobs.RANKS_GONE_S:
                problems.append(f"{what} killed at {at_s:.2f} s: ranks lived on for {gone_s:.1f} s")
            steps, saved = jobs.steps_done(command.output), jobs.steps_saved(command.output, STEPS_A_STAGE)
            # Where the record is as it was, the job did no step, and what lies behind the checkpoint was lost before.
            is_set_up = jobs.read(command.output / "metrics.jsonl") == record
            counts[f"of {what}"] += 1
            counts["in set-up" if is_set_up else "in stage 1" if steps < STEPS_A_STAGE else "in stage 2"] += 1
            counts["with something unfinished left"] += bool(command.output.exists() and jobs.unfinished(command.output))
            if not is_set_up and what != "mpirun":  # mpirun's ranks go on for a moment, so that the two numbers are not of one time
                counts["steps lost"] += steps - saved
                counts["most steps lost by one"] = max(counts["most steps lost by one"], steps - saved)
            kills.append(f"{what} at {at_s:.2f} s ({steps} steps, {saved} saved)")
            continue
        code = job.end()
        if code != jobs.DONE:
            problems.append(f"a start that nothing was done to ended with {code}: {job.last_words()}")
        return kills, job.seconds, problems


def run(tally, programs, work, count, seed):
    rng, counts = random.Random(seed), collections.Counter()
    config = jobs.write_config(work, jobs.two_stages(EPOCHS))
    horizons_s = {}  # how long a run of each shape takes
    for shape, (ranks, tensor) in SHAPES.items():
        taken_s = jobs.reference_run(tally, programs, config, work / f"whole-{ranks}-{tensor}", ranks, [f"parallel.tensor={tensor}"])
        if taken_s is None:
            return tally.summary("kill", "a run that nothing happens to failed")
        print(f"{shape}: {2 * STEPS_A_STAGE} steps in {taken_s:.1f} s", flush=True)
        horizons_s[shape] = taken_s
    kills_done, shapes = collections.Counter(), itertools.cycle(SHAPES.items())
    for number in itertools.count(1):
        if kills_done.total() >= count or tally.is_late():
            break
        shape, (ranks, tensor) = next(shapes)
        every = rng.choice([1, 2])
        output = work / f"run-{number}"
        command = jobs.Command(programs, config, output, ranks, [f"parallel.tensor={tensor}", f"checkpoint.every={every}"])
        kills, last_s, problems = struck_run(rng, command, horizons_s[shape], min(MOST_KILLS, count - kills_done.total()), counts)
        kills_done[shape] += len(kills)
        # The machine has other work, and the time that a run takes changes with it.
        if not kills:
            horizons_s[shape] = last_s
        elif len(kills) == MOST_KILLS:
            horizons_s[shape] *= 1.5
        if not problems:
            problems = jobs.differences(work / f"whole-{ranks}-{tensor}", output)
        tally.case(f"{shape}, a checkpoint every {every}, killed {len(kills)} times: {', '.join(kills)}", problems)
        if not problems:
            jobs.remove_run(output)
    return tally.summary("kill", f"{kills_done.total()} kills: " + ", ".join(f"{value} {key}" for key, value in counts.items()) + "; " +
                         ", ".join(f"{value} of {key}" for key, value in kills_done.items()))
