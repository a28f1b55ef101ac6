"""Trainings that the soak starts and strikes: their configs, their processes, and what they leave behind.

A job's processes are found by its output folder in their command lines, so that no other program is ever signalled.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests/data/golden/models"
PROGRAM = "layalign-train"
SEGMENTATION_FAULT = 128 + signal.SIGSEGV
SHORT_S = 0.002  # between two looks at a file or a process
RANKS_GONE_S = 5  # after a kill, at most

DONE, REFUSED, HELD_UP, NO_SPACE, SAVED, KILLED = 0, 2, 70, 74, 75, 128 + signal.SIGKILL


class Tally:
    """One line a case, and the counts at the end. After limit_s nothing new is to begin."""

    def __init__(self, limit_s):
        self.good, self.bad, self.start, self.limit_s = 0, 0, time.monotonic(), limit_s

    def is_late(self):
        return time.monotonic() - self.start > self.limit_s

    def case(self, text, problems):
        self.good, self.bad = self.good + (not problems), self.bad + bool(problems)
        print(("FAIL " if problems else "ok   ") + text + "".join("\n       " + problem for problem in problems), flush=True)

    def summary(self, kind, text):
        """Prints the last line; returns the exit code."""
        print(f"{kind}: {self.good + self.bad} cases, {self.good} survived, {self.bad} did not, {time.monotonic() - self.start:.0f} s; {text}",
              flush=True)
        return 1 if self.bad or not self.good else 0


def write_corpus(path, samples):
    """Token ids; sample i alone has the token 10 + i in its source."""
    lines = [{"source": [5, 10 + i, 9, 1], "prompt": [7, 8], "target": [10 + i, 30, 2]} for i in range(samples)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def two_stages(epochs, **stage):
    """A config of two stages over one corpus of 26 samples, of which 2 are held out: 4 steps an epoch."""
    keys = {"corpus": {"format": "token_ids", "path": "corpus.jsonl"}, "prompt": True, "epochs": epochs, "global_batch": 6,
            "micro_batch": 3, "lr": 1e-3, "dev_size": 2, "eval_every": 3, **stage}
    return {"model": {"encoder": str(MODELS / "mt5"), "llm": str(MODELS / "llama")}, "parallel": {"device": "cpu", "threads": 1},
            "checkpoint": {"every": 1, "keep": 2}, "stages": [{"name": "one", **keys}, {"name": "two", **keys}]}


def write_config(folder, config, samples=26):
    """Returns the path of a config whose corpus lies beside it."""
    write_corpus(folder / "corpus.jsonl", samples)
    (folder / "run.json").write_text(json.dumps(config, indent=1))
    return folder / "run.json"


class Command:
    """A command line that may be started again and again."""

    def __init__(self, programs, config, output, ranks, settings=()):
        self.output, self.ranks = output, ranks
        self.line = [] if ranks == 1 else [str(ROOT / "tests/mpirun.sh"), "-n", str(ranks)]
        self.line += [str(programs / PROGRAM), str(config), "--set", f"output={output}"]
        for setting in settings:
            self.line += ["--set", setting]

    def start(self, fault=None):
        """fault: KIND:N of LAYALIGN_FILE_FAULT."""
        return Job(self, fault)

    def processes(self):
        """The ids of its processes that live, mpirun included."""
        wanted = f"output={self.output}"
        return processes_with(lambda argument: argument == wanted)

    def seconds_until_gone(self, limit_s=60):
        start = time.monotonic()
        while self.processes():
            if time.monotonic() - start > limit_s:
                return limit_s
            time.sleep(SHORT_S)
        return time.monotonic() - start

    def kill_all(self):
        """SIGKILL to all that there is, until there is nothing."""
        kill_until_gone(self.processes)


def processes_with(wanted):
    """The ids of the processes that have an argument which `wanted` accepts. Those that have ended and were not waited for have none."""
    return [int(entry.name) for entry in pathlib.Path("/proc").iterdir() if entry.name.isdigit() and
            any(wanted(argument.decode(errors="replace")) for argument in read(entry / "cmdline").split(b"\0"))]


def kill_until_gone(processes):
    """SIGKILL to the processes that a function names, until it names none."""
    while found := processes():
        for process in found:
            send(process, signal.SIGKILL)
        time.sleep(0.05)


def kill_all_below(work):
    """Of every job whose output lies in a folder."""
    kill_until_gone(lambda: processes_with(lambda argument: argument.startswith(f"output={work}/")))


def send(process, number):
    """Whether the process was there to get the signal."""
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return False
    return True


class Job:
    """A command that was started. `process` is that of mpirun, or of the only rank; all that it says goes to a file."""

    def __init__(self, command, fault):
        self.command = command
        self.log_path = pathlib.Path(f"{command.output}.log")
        environment = dict(os.environ)
        environment.pop("LAYALIGN_FILE_FAULT", None)
        if fault:
            environment["LAYALIGN_FILE_FAULT"] = fault
        self.begin = time.monotonic()
        self.log_path.unlink(missing_ok=True)  # ranks of a killed mpirun may still write into the old one
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command.line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=ROOT)

    def lives(self):
        return self.process.poll() is None

    def ranks(self):
        """The ids of its ranks, in no order; none while mpirun has not started them."""
        return [process for process in self.command.processes() if read(f"/proc/{process}/comm").strip() == PROGRAM.encode()]

    def wait_until(self, condition, limit_s=120):
        """Whether it came to be while the job lived."""
        deadline = time.monotonic() + limit_s
        while self.lives() and time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(SHORT_S)
        return False

    def log(self):
        return self.log_path.read_text(errors="replace")

    def end(self, limit_s=600):
        """Waits for its end; returns its exit code as a shell's, None for one that had to be killed after limit_s: `stuck` says more."""
        try:
            code = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.stuck = f"{self.state()}; it said: {self.last_words()}"
            self.command.kill_all()
            self.process.wait()
            return None
        finally:
            self.seconds = time.monotonic() - self.begin
        return status_of_job(code if code >= 0 else 128 - code, self.log())

    def state(self):
        """What each of its processes is doing, in words: of a job that does not end."""
        words = []
        for process in self.command.processes():
            fields = process_status(process)
            waits = read(f"/proc/{process}/wchan").decode()
            words.append(f"{fields.get('Name')} {process} is {fields.get('State')} in {waits or '?'}, {fields.get('Threads')} threads")
        return "; ".join(words) or "no process is left but " + f"{self.process.pid}"

    def last_words(self):
        """Its errors; the end of what it said where it names none."""
        lines = self.log().strip().splitlines()
        return " | ".join([line for line in lines if "[error]" in line] or lines[-6:])


def status_of_job(code, text):
    """As in tests/command.h: mpirun of OpenMPI 4.1.4 over PMIx 4.2.2 may crash itself after an abort, when all ranks are gone."""
    asked = re.search(r"\nwith errorcode (\d+)\.", text)
    return int(asked[1]) if code == SEGMENTATION_FAULT and "(PMIx_server_finalize+" in text and asked else code


def read(path):
    """The bytes of a file; none where there is no file."""
    try:
        return pathlib.Path(path).read_bytes()
    except OSError:
        return b""


def process_status(process):
    """What the system says of a process, by name; nothing of one that is gone."""
    return dict(line.split(":\t", 1) for line in read(f"/proc/{process}/status").decode().splitlines() if ":\t" in line)


def json_lines(path):
    """The whole lines of a file of JSON objects; a torn last one is left out."""
    return [json.loads(line) for line in read(path).splitlines(keepends=True) if line.endswith(b"\n")]


def steps_done(output):
    """Lines of metrics.jsonl, cheaply: looked at while the run writes."""
    return read(output / "metrics.jsonl").count(b"\n")


def stage_folders(output):
    """In their order."""
    return sorted(path for path in output.glob("[0-9]-*") if path.is_dir())


def steps_saved(output, steps_a_stage):
    """Steps of the run up to its newest checkpoint."""
    for index, stage in reversed(list(enumerate(stage_folders(output)))):
        steps = [int(path.name[5:]) for path in stage.glob("step-*") if path.suffix != ".tmp"]
        if steps:
            return index * steps_a_stage + max(steps)
    return 0


def tensors_of(checkpoint):
    """A training checkpoint's weights and both moments, each as the bytes of all elements, whatever ranks have written them."""
    moments = {"exp_avg": b"", "exp_avg_sq": b""}
    for share in sorted(json.loads(read(checkpoint / "manifest.json"))["moments"], key=lambda share: share["begin"]):
        data = read(checkpoint / share["file"])
        begin = 8 + struct.unpack("<Q", data[:8])[0]
        for name, tensor in json.loads(data[8:begin]).items():
            if name in moments:
                moments[name] += data[begin + tensor["data_offsets"][0]:begin + tensor["data_offsets"][1]]
    return {"trainables": read(checkpoint / "trainables.safetensors"), **moments}


def unfinished(output):
    return sorted(str(path.relative_to(output)) for path in output.rglob("*.tmp"))


# `counters` stand at the first step of a process as well, and tell of its memory.
TIMES = ("tokens_per_s", "samples_per_s", "step_s", "phase_s", "mfu", "peak_memory_bytes", "counters", "evaluation_s")


def without_times(line):
    return {key: value for key, value in line.items() if key not in TIMES}


def differences(whole, run):
    """What tells a finished run from the one that nothing happened to: bits of weights and moments, lines, leftovers."""
    problems = [f"{name} is left" for name in unfinished(run)]
    if not (run / "summary.json").exists():
        problems.append("it has no summary.json")
    for stage in stage_folders(whole):
        newest = max(path.name for path in stage.glob("step-*"))
        files = ["trainables.safetensors", "best.safetensors", *(f"{newest}/{path.name}" for path in (stage / newest).glob("*.safetensors"))]
        for file in files:
            if read(stage / file) != read(run / stage.name / file):  # without held-out samples there is no best.safetensors
                problems.append(f"{stage.name}/{file} has other bytes or is missing")
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        expected, found = ([without_times(line) for line in json_lines(folder / name)] for folder in (whole, run))
        if expected == found:
            continue
        first = next((i for i, (a, b) in enumerate(zip(expected, found)) if a != b), min(len(expected), len(found)))
        problems.append(f"{name}: {len(found)} lines instead of {len(expected)}, the first other one is line {first + 1}")
    return problems


SHARED = pathlib.Path("/dev/shm")
TEMPORARY = pathlib.Path(tempfile.gettempdir())


def folders_of(mpirun):
    """OpenMPI 4 keeps the state of a job in ompi.HOST.UID/pid.PID."""
    return set(TEMPORARY.glob(f"ompi.*/pid.{mpirun}"))


def remove_run(output):
    shutil.rmtree(output, ignore_errors=True)
    pathlib.Path(f"{output}.log").unlink(missing_ok=True)


def reference_run(tally, programs, config, output, ranks, settings=()):
    """The run that nothing happens to; returns how long it took, None where it failed."""
    job = Command(programs, config, output, ranks, settings).start()
    code = job.end()
    if code != DONE:
        tally.case(f"{output.name}: the run that nothing happens to", [f"exit code {code}: {job.last_words()}"])
        return None
    return job.seconds
