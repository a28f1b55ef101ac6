#!/usr/bin/env python3
"""Trainings that are killed, stopped and moved between grids until it is seen that nothing is lost. See README.md.

    python3 tests/soak/run.py KIND [--count N] [--minutes M] [--programs build] [--seed S] [--work DIR]
"""
import argparse
import os
import pathlib
import shutil
import signal
import sys
import tempfile

import deaths
import grids
import jobs
import kill
import saves
import shm
import soak

KINDS = {"deaths": (deaths, 200), "kill": (kill, 300), "grids": (grids, 81), "saves": (saves, 1000), "shm": (shm, 5),
         "soak": (soak, 100)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--count", type=int, help="deaths, kills, pairs, saves, jobs of each kind, or failures; " +
                        ", ".join(f"{kind}: {count}" for kind, (_, count) in KINDS.items()))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after so many nothing new begins")
    parser.add_argument("--programs", type=pathlib.Path, default=jobs.ROOT / "build", help="the folder of layalign-train")
    parser.add_argument("--seed", type=int, default=1, help="of what is struck and when")
    parser.add_argument("--work", type=pathlib.Path, help="an empty folder to work in; what did not survive stays there")
    args = parser.parse_args()
    module, count = KINDS[args.kind]
    if args.work:
        args.work.mkdir(parents=True, exist_ok=True)
        if any(args.work.iterdir()):
            parser.error(f"{args.work} is not empty")
    work = (args.work or pathlib.Path(tempfile.mkdtemp(prefix="layalign-soak-"))).resolve()
    os.environ["OMP_NUM_THREADS"] = "1"
    code = 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # its jobs end with it
    try:
        code = module.run(jobs.Tally(60 * args.minutes), args.programs.resolve(), work, args.count or count, args.seed)
    finally:
        jobs.kill_all_below(work)
        if code == 0:
            shutil.rmtree(work)
        else:
            print(f"what did not survive lies in {work}", flush=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
