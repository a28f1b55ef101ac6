"""D1, D2: a rank dies or stops at a random time of a run; the job must end at once or by its watchdog, and the right rank be named."""
import collections
import random
import re
import signal
import time

import jobs

RANKS = 2
EPOCHS = 25
STEPS_A_STAGE = 4 * EPOCHS
WATCHDOG_S = 5
WATCHDOG = {"set_up": f"{WATCHDOG_S}s", "step": f"{WATCHDOG_S}s", "save": f"{WATCHDOG_S}s", "evaluation": f"{WATCHDOG_S}s"}
DEATHS = ("SIGKILL", "SIGSEGV", "SIGABRT", "SIGSTOP")


def rank_of(process):
    """By what OpenMPI has put into its environment."""
    variables = dict(entry.partition(b"=")[::2] for entry in jobs.read(f"/proc/{process}/environ").split(b"\0"))
    return int(variables[b"OMPI_COMM_WORLD_RANK"])


def named_rank(log, death):
    """The rank that mpirun or the watchdog blames; None where neither names one."""
    found = (re.search(r"^  rank (\d+) \(\S+\) has given no sign of life", log, re.MULTILINE) if death == "SIGSTOP" else
             re.search(r"mpirun noticed that process rank (\d+) with PID", log))
    return int(found[1]) if found else None


def struck_job(rng, command, death, whole_s):
    """Returns where it was struck, how long it lived on, and what went wrong."""
    job = command.start()
    if rng.random() < 0.25:  # while models and corpora are loaded
        job.wait_until(lambda: len(job.ranks()) == RANKS and command.output.exists())
    else:
        step = rng.randint(1, 2 * STEPS_A_STAGE - 20)
        job.wait_until(lambda: jobs.steps_done(command.output) >= step)
        job.wait_until(lambda: False, rng.uniform(0, whole_s / (2 * STEPS_A_STAGE)))
    ranks = {rank_of(process): process for process in job.ranks()}
    steps = jobs.steps_done(command.output)
    place = f"after step {steps}" if steps else "in set-up"
    if len(ranks) < RANKS:
        return place, 0, [f"it had no {RANKS} ranks: {job.last_words()}"]
    rank = rng.randrange(RANKS)
    struck = time.monotonic()
    jobs.send(ranks[rank], getattr(signal, death))
    code = job.end(60)
    problems = [] if command.seconds_until_gone() < jobs.RANKS_GONE_S else ["ranks lived on"]
    lived_s = time.monotonic() - struck
    if code is None:
        return place, lived_s, [f"the job did not end in 60 s: {job.stuck}"]
    expected = jobs.HELD_UP if death == "SIGSTOP" else 128 + getattr(signal, death)
    if code != expected:
        problems.append(f"exit code {code}, expected {expected}: {job.last_words()}")
    limit_s = jobs.RANKS_GONE_S + (WATCHDOG_S if death == "SIGSTOP" else 0)
    if lived_s > limit_s:
        problems.append(f"it lived on for {lived_s:.1f} s, {limit_s} at most were due")
    if named_rank(job.log(), death) != rank:
        problems.append(f"rank {rank} was struck, named is {named_rank(job.log(), death)}: {job.last_words()}")
    return f"rank {rank} {place}", lived_s, problems


def run(tally, programs, work, count, seed):
    """count: deaths."""
    rng, slowest_s = random.Random(seed), collections.Counter()
    config = jobs.write_config(work, jobs.two_stages(EPOCHS))
    settings = ["parallel.tensor=2", *(f"watchdog.{section}={limit}" for section, limit in WATCHDOG.items())]
    whole_s = jobs.reference_run(tally, programs, config, work / "whole", RANKS, settings)
    if whole_s is None:
        return tally.summary("deaths", "the run that nothing happens to failed")
    for number in range(count):
        if tally.is_late():
            break
        death = DEATHS[number % len(DEATHS)]
        command = jobs.Command(programs, config, work / "run", RANKS, settings)
        jobs.remove_run(command.output)
        place, lived_s, problems = struck_job(rng, command, death, whole_s)
        slowest_s[death] = max(slowest_s[death], lived_s)
        tally.case(f"{death} of {place}: gone after {lived_s:.1f} s", problems)
    return tally.summary("deaths", "slowest: " + ", ".join(f"{death} {seconds:.1f} s" for death, seconds in slowest_s.items()))
