"""D3: what killed jobs leave in shared memory and in the folder of temporary files; the next job removes it and is unhurt.

A job's own files are known by the maps of its ranks and the process id of its mpirun, so that those of other programs do not count.
"""
import pathlib
import random
import signal

import jobs

RANKS = 2
EPOCHS = 25
KINDS = ("a rank", "mpirun", "mpirun and all ranks", "nothing")


def files_of(job):
    """What the ranks of a job have mapped of shared memory, and OpenMPI's folder of the job."""
    found = set()
    for process in job.ranks():
        for line in jobs.read(f"/proc/{process}/maps").decode(errors="replace").splitlines():
            path = line.partition("/")[2].removesuffix(" (deleted)")
            if path.startswith(f"{str(jobs.SHARED)[1:]}/"):
                found.add(pathlib.Path("/" + path))
    return found | jobs.folders_of(job.process.pid)


def kill(job, kind, rng):
    ranks = job.ranks()
    if kind == "a rank":
        jobs.send(rng.choice(ranks), signal.SIGKILL)
    elif kind == "mpirun":
        job.process.kill()
    elif kind == "mpirun and all ranks":
        for process in [job.process.pid, *ranks]:
            jobs.send(process, signal.SIGKILL)


def killed_job(command, kind, rng):
    """Returns the job's files that stay, how long its ranks lived on, and what went wrong."""
    jobs.remove_run(command.output)
    job = command.start()
    if not job.wait_until(lambda: jobs.steps_done(command.output) > 2):
        return set(), 0, [f"it never came to its steps: {job.last_words()}"]
    own = files_of(job)
    kill(job, kind, rng)
    code = job.end()
    gone_s = command.seconds_until_gone()
    expected = code == jobs.DONE if kind == "nothing" else code not in (jobs.DONE, None)
    return {path for path in own if path.exists()}, gone_s, [] if expected else [f"exit code {code}: {job.last_words()}"]


def run(tally, programs, work, count, seed):
    """count: jobs of each kind."""
    rng = random.Random(seed)
    config = jobs.write_config(work, jobs.two_stages(EPOCHS))
    settings = ["parallel.tensor=2"]
    if jobs.reference_run(tally, programs, config, work / "whole", RANKS, settings) is None:
        return tally.summary("shm", "the run that nothing happens to failed")
    print(f"before: {len(list(jobs.SHARED.iterdir()))} files in {jobs.SHARED}, {len(list(jobs.TEMPORARY.glob('ompi.*/pid.*')))} of {jobs.TEMPORARY}/ompi.*/pid.*",
          flush=True)
    left, slowest_s = {kind: [] for kind in KINDS}, 0
    for kind in KINDS:
        for _ in range(count):
            if tally.is_late():
                break
            command = jobs.Command(programs, config, work / "run", RANKS, settings)
            stays, gone_s, problems = killed_job(command, kind, rng)
            slowest_s = max(slowest_s, gone_s)
            if gone_s > jobs.RANKS_GONE_S:
                problems.append(f"ranks lived on for {gone_s:.1f} s")
            if kind == "nothing":
                problems += [f"{path} stays behind a job that ended by itself" for path in stays]
            job = command.start()
            code = job.end()
            if code != jobs.DONE:
                problems.append(f"the job afterwards ended with {code}: {job.last_words()}")
            problems += jobs.differences(work / "whole", command.output)
            still = {path for path in stays if path.exists()}
            problems += [f"{path} is still there after the next job" for path in still]
            left[kind].append(stays)
            tally.case(f"killed: {kind}: ranks gone after {gone_s:.1f} s; left " +
                       (", ".join(map(str, sorted(stays))) or "nothing") +
                       (f"; the next job removed {len(stays - still)}" if stays else "") + "; the next job is unhurt", problems)
    for kind, each in left.items():
        print(f"killed: {kind}: {sum(len(paths) for paths in each)} files and folders left by {len(each)} jobs", flush=True)
    return tally.summary("shm", f"ranks gone after {slowest_s:.1f} s at most")
