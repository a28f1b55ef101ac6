"""D10: a run that saves itself after every step takes no more memory, files or shared memory at its end than at its beginning."""
import pathlib
import statistics
import time

import jobs

RANKS = 2
STEPS_AN_EPOCH = 4
STAGES = 2
WARM_UP = 0.2  # of the run: allocators fill their pools first
GROWTH = 0.01


def resident_kb(process):
    resident = jobs.process_status(process).get("VmRSS")  # "  1234 kB"
    return int(resident.split()[0]) if resident else None


def open_files(process):
    try:
        return sum(1 for _ in pathlib.Path(f"/proc/{process}/fd").iterdir())
    except OSError:
        return None


def watch(job, steps):
    """For each rank the samples (steps done, kB of memory, open files); and those of /dev/shm (steps done, files)."""
    ranks, shared = {}, []
    while job.lives():
        done = jobs.steps_done(job.command.output)
        for process in job.ranks():
            memory, files = resident_kb(process), open_files(process)
            if memory and files and done < steps:  # a rank that ends gives back
                ranks.setdefault(process, []).append((done, memory, files))
        shared.append((done, len(list(jobs.SHARED.iterdir()))))
        time.sleep(0.02)  # what a save opens for a moment is told from what stays by many samples
    return ranks, [sample for sample in shared if sample[0] < steps]


def growth(samples, steps, column):
    """Of the last fifth of a run against the fifth after its warm-up: (before, after, share)."""
    early = [s[column] for s in samples if WARM_UP * steps <= s[0] < 2 * WARM_UP * steps]
    late = [s[column] for s in samples if s[0] >= (1 - WARM_UP) * steps]
    before, after = statistics.median(early), statistics.median(late)
    return before, after, after / before - 1 if before else after


def run(tally, programs, work, count, seed):
    """count: saves, at least 100. seed: nothing is drawn here."""
    epochs = -(-max(count, 100) // (STEPS_AN_EPOCH * STAGES))
    steps = epochs * STEPS_AN_EPOCH * STAGES
    config = jobs.write_config(work, jobs.two_stages(epochs, eval_every=100))
    job = jobs.Command(programs, config, work / "run", RANKS, ["parallel.tensor=2"]).start()
    ranks, shared = watch(job, steps)
    code = job.end()
    if code != jobs.DONE or len(ranks) != RANKS:
        tally.case("the run", [f"exit code {code}, {len(ranks)} ranks seen: {job.last_words()}"])
        return tally.summary("saves", "it failed")
    series = [(f"rank of process {process}", samples, column, unit)
              for process, samples in ranks.items() for column, unit in ((1, "kB resident"), (2, "open files"))]
    for name, samples, column, unit in [*series, (str(jobs.SHARED), shared, 1, "files")]:
        before, after, share = growth(samples, steps, column)
        tally.case(f"{name}: {before:.0f}, then {after:.0f} {unit} ({100 * share:+.2f} %)",
                   [f"grew by more than {100 * GROWTH:.0f} %"] if share > GROWTH else [])
    return tally.summary("saves", f"{steps} saves in {job.seconds:.0f} s")
