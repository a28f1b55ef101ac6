"""F8: a checkpoint of each grid (tensor x data parallel) goes on on each grid.

How it is seen that the resume changes no tensor: the encoder's embedding of one token overflows, and that token is in one sample alone.
The step with that sample is skipped (optimizer.skip_nonfinite), so the checkpoint behind it must hold, bit for bit, what the one before
it held; the run that goes on makes the one from the other through its whole restore, and compares the weights of all ranks by
hash when it saves. The loss of the step after that is the next one.
"""
import json
import shutil
import struct

import jobs

SIZES = (1, 2, 4)
GRIDS = [(tensor, data) for tensor in SIZES for data in SIZES]
SAMPLES, BATCH, STEPS_AN_EPOCH, STEPS = 40, 8, 5, 8
TOLERANCE = 1e-6  # of the next loss, relative


def name_of(grid):
    return f"{grid[0]}x{grid[1]}"


def poisoned_encoder(folder, token):
    """A copy of the tiny mT5 whose embedding of a token is the greatest number of float32, which overflows in the aligner."""
    shutil.copytree(jobs.MODELS / "mt5", folder, dirs_exist_ok=True)
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    header_bytes = struct.unpack("<Q", data[:8])[0]
    embedding = json.loads(data[8:8 + header_bytes])["shared.weight"]
    assert embedding["dtype"] == "F32"
    width = embedding["shape"][1]
    at = 8 + header_bytes + embedding["data_offsets"][0] + 4 * token * width
    data[at:at + 4 * width] = struct.pack(f"<{width}f", *[3.4028234663852886e38] * width)
    path.write_bytes(data)


def make_config(work):
    stage = {"name": "only", "corpus": {"format": "token_ids", "path": "corpus.jsonl"}, "prompt": True, "epochs": 2, "max_steps": STEPS,
             "global_batch": BATCH, "micro_batch": 2, "lr": 1e-3}
    return jobs.write_config(work, {
        "model": {"encoder": str(work / "encoder"), "llm": str(jobs.MODELS / "llama")}, "parallel": {"device": "cpu", "threads": 1},
        "optimizer": {"skip_nonfinite": 2}, "checkpoint": {"every": 1, "keep": 100}, "stages": [stage]}, SAMPLES)


def command_on(grid, programs, config, output):
    tensor, data = grid
    return jobs.Command(programs, config, output, tensor * data, [f"parallel.tensor={tensor}"])


def losses_of(output):
    return [line["loss"] for line in jobs.json_lines(output / "metrics.jsonl")]


def step_folder(output, step):
    return output / f"1-only/step-{step:08d}"


def skipped_step(programs, config, work):
    """Poisons one sample after the other until its step is in the middle of the first epoch; returns that step."""
    for sample in range(SAMPLES):
        poisoned_encoder(work / "encoder", 10 + sample)
        output = work / "search"
        job = command_on((1, 1), programs, config, output).start()
        if job.end() != jobs.DONE:
            raise RuntimeError(job.last_words())
        step = losses_of(output).index(None) + 1
        jobs.remove_run(output)
        if 2 < step < STEPS_AN_EPOCH:
            return step
    raise RuntimeError("no sample lies in the middle of an epoch")


def go_on(programs, config, work, skipped, first, second):
    """The run of grid `first`, as it was after its checkpoint before the skipped step, goes on on grid `second`."""
    whole, output = work / f"whole-{name_of(first)}", work / f"on-{name_of(second)}"
    shutil.copytree(step_folder(whole, skipped - 1), step_folder(output, skipped - 1))
    for name in ("config.yaml", "metrics.jsonl"):
        shutil.copy(whole / name, output)
    job = command_on(second, programs, config, output).start()
    code = job.end()
    if code != jobs.DONE:
        return output, 0, [f"exit code {code}: {job.last_words()}"]
    problems = [] if f"resuming after step {skipped - 1} of" in job.log() else ["it did not begin at the checkpoint"]
    before, after = jobs.tensors_of(step_folder(whole, skipped - 1)), jobs.tensors_of(step_folder(output, skipped))
    problems += [f"{name} is not what the first run has written" for name in before if before[name] != after[name]]
    expected, found = losses_of(whole), losses_of(output)
    if len(found) != STEPS or found[skipped - 1] is not None:
        return output, 0, [*problems, f"its losses are {found}, those of the first run {expected}"]
    off = abs(found[skipped] - expected[skipped]) / expected[skipped]
    if off > TOLERANCE:
        problems.append(f"the next loss is {found[skipped]}, expected {expected[skipped]}")
    if first == second:
        problems += jobs.differences(whole, output)
    return output, off, problems


def run(tally, programs, work, count, seed):
    """count: pairs at most. Nothing is left to chance, so the seed does not matter."""
    config = make_config(work)
    skipped = skipped_step(programs, config, work)
    print(f"checkpoint after step {skipped - 1} of {STEPS_AN_EPOCH} an epoch; grids are tensor x data parallel", flush=True)
    failed = [grid for grid in GRIDS if jobs.reference_run(
        tally, programs, config, work / f"whole-{name_of(grid)}", grid[0] * grid[1], [f"parallel.tensor={grid[0]}"]) is None]
    largest, pairs = 0, [(first, second) for first in GRIDS for second in GRIDS if first not in failed][:count]
    for first, second in pairs:
        if tally.is_late():
            break
        output, off, problems = go_on(programs, config, work, skipped, first, second)
        largest = max(largest, off)
        same = ", all later bits alike" if first == second else ""
        tally.case(f"{name_of(first)} goes on as {name_of(second)}: tensors bit-equal, next loss off by {off:.1e}{same}"
                   if not problems else f"{name_of(first)} goes on as {name_of(second)}", problems)
        if not problems:
            jobs.remove_run(output)
        else:
            output.rename(work / f"{name_of(first)}-on-{name_of(second)}")
    return tally.summary("grids", f"of {len(GRIDS) ** 2} pairs; the next loss is off by {largest:.1e} at most")
