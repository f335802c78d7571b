#!/usr/bin/env python3
"""The whole system: `parchmill run` with its broker and workers, real sockets and real files.

    bench/run pipeline [ARCH] [--images 240] [--evaluated 60] [--repeats 3]

A run with one one-thread worker and the same with two, alternating, each into a new database; first plain `grad` at default
settings, then with --evaluate on fewer photographs. The photographs are PARCHMILL_DATA/ilsvrc_val's where that is set, else
500x375 JPEGs drawn here; the weights are random.

Images a second: from the first recorded result to the last, so that neither loading the model nor saying goodbye counts, but the
end of a run, when a worker may have nothing left to do, does. Medians; the ratio is the median of each round's.

Share of processor time outside engine and decoding, of the runs with two workers: everything that the command and all that it
started have used from first to last (rusage of the command and its children's children), less what the compute threads spent
    in the engine (gradients, curves; results are copied and scored outside of it),
    on the way from a photograph's bytes to the network's input (decode, resize, crop, normalise),
    on loading the run (weights read, hashed and laid out: once a worker, however long the run is),
all three by the threads' own processor clocks, which workers write to their log as they stop (event worker.spent). So start and
stop of all processes, hashes of photographs and weights, reading, messages, database and the progress line are in "outside, whole
run". Start and stop cost the same however long a run is; "outside, each image" is what it comes to in a long one: a quarter of the
photographs is run as well, and the difference between the two runs is taken, of what is outside and of the whole. The goal is for
that. The columns of milliseconds are of the whole run. "Waited" is the share of the compute threads' time without a task between their first and their last.
"""
import argparse
import json
import os
import re
import shutil
import sqlite3
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy
import torch
import torchvision
from PIL import Image

import paired

GOAL_RATIO, GOAL_SHARE = 1.8, 5.0
SPENT = re.compile(r"worker\.spent .*?items=(\d+) load_us=(\d+) read_us=(\d+) image_us=(\d+) engine_us=(\d+) other_us=(\d+) "
                   r"wait_us=(\d+)")


def photographs(folder, count):
    data = os.environ.get("PARCHMILL_DATA")
    found = sorted((Path(data) / "ilsvrc_val" / "images").rglob("*.JPEG")) if data else []
    if len(found) >= count:
        for path in found[:count]:
            shutil.copy(path, folder)
        return f"{count} photographs of {data}"
    random = numpy.random.default_rng(0)
    for index in range(count):  # coarse shapes under fine grain, about 60 KB a file
        coarse = Image.fromarray(random.integers(0, 255, (9, 12, 3), numpy.uint8)).resize((500, 375), Image.BICUBIC)
        grain = random.normal(0, 10, (375, 500, 1))
        picture = numpy.clip(numpy.asarray(coarse) + grain, 0, 255).astype(numpy.uint8)
        Image.fromarray(picture).save(folder / f"{index:05}.jpg", quality=88)
    return f"{count} drawn photographs of 500x375"


class Run:
    """One run to its end, and what can be known of it."""

    def __init__(self, folder, arch, weights, images, count, workers, extra):
        db = folder / "bench.db"
        for old in folder.glob("bench.db*"):
            old.unlink()
        command = [paired.BUILD / "bin" / "parchmill", "run", "--model", arch, "--weights", weights, "--images", images, "--db", db,
                   "--workers", str(workers), "--threads", "1", "--limit", str(count), "--quiet", "--json", *extra]
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        text = child.stdout.read()
        _, code, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(code)
        self.seconds = time.perf_counter() - start
        if child.returncode or json.loads(text)["images_failed"] or json.loads(text)["restarts"]:
            raise SystemExit(f"the run failed: {text}")
        self.processor = usage.ru_utime + usage.ru_stime
        rows = [tuple(int(n) for n in found) for found in SPENT.findall((folder / "bench.db.log").read_text())]
        if len(rows) != workers or sum(row[0] for row in rows) != count:
            raise SystemExit(f"{len(rows)} workers said what they spent, on {sum(row[0] for row in rows)} of {count} photographs")
        self.load, self.read, self.image, self.engine, self.other, self.wait = (sum(column) / 1e6 for column in list(zip(*rows))[1:])
        with sqlite3.connect(f"file:{db}?mode=ro", uri=True) as opened:
            first, last, recorded = opened.execute("SELECT min(recorded_ms), max(recorded_ms), count(*) FROM result").fetchone()
            # More than one result can have the first time.
            at_first, = opened.execute("SELECT count(*) FROM result WHERE recorded_ms = ?", (first,)).fetchone()
        self.rate = (recorded - at_first) * 1e3 / (last - first)
        self.busy = workers * (last - first) / 1e3


def measure(what, count, extra, a, folder, arch, weights, images):
    sides = [(count, 1), (count, 2), (count // 4, 2)]
    Run(folder, arch, weights, images, count // 4, 2, extra)  # warms up
    rounds = [[Run(folder, arch, weights, images, number, workers, extra) for number, workers in sides] for _ in range(a.repeats)]
    median = lambda of: statistics.median(of(runs) for runs in rounds)
    ratio = median(lambda p: p[1].rate / p[0].rate)
    outside = lambda run: run.processor - run.engine - run.image - run.load
    whole = lambda run: run.processor - run.load
    share = median(lambda p: 100 * outside(p[1]) / whole(p[1]))
    each = median(lambda p: 100 * (outside(p[1]) - outside(p[2])) / (whole(p[1]) - whole(p[2])))
    one = lambda field: median(lambda p: 1e3 * getattr(p[1], field) / count)
    print(f"| {what} | {median(lambda p: p[0].rate):.1f} | {median(lambda p: p[1].rate):.1f} | {ratio:.2f} | "
          f"{median(lambda p: p[0].seconds):.1f} | {median(lambda p: p[1].seconds):.1f} | "
          f"{median(lambda p: 1e3 * p[1].processor / count):.2f} | {one('engine'):.2f} | {one('image'):.2f} | {one('read'):.2f} | "
          f"{one('other'):.2f} | {median(lambda p: 1e3 * (outside(p[1]) - p[1].read - p[1].other) / count):.2f} | "
          f"{median(lambda p: p[1].load):.2f} | {share:.1f} % | {each:.1f} % | {median(lambda p: 100 * p[1].wait / p[1].busy):.1f} % |", flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("arch", nargs="?", default="resnet18")
    ap.add_argument("--images", type=int, default=240)
    ap.add_argument("--evaluated", type=int, default=60, help="photographs of the run with --evaluate")
    ap.add_argument("--repeats", type=int, default=3)
    a = ap.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, weights = folder / "images", folder / "weights.pth"
        images.mkdir()
        torch.manual_seed(0)
        torch.save(getattr(torchvision.models, a.arch)(weights=None).state_dict(), weights)
        print(f"{paired.machine()}; {a.arch}, {photographs(images, max(a.images, a.evaluated))}; one-thread workers; goals: two over "
              f"one {GOAL_RATIO}, outside {GOAL_SHARE} %\n")
        print("| run | one, images/s | two, images/s | ratio | one, whole s | two, whole s | processor ms an image | engine | image | "
              "read | rest of compute thread | all else | load, s | outside, whole run | outside, each image | waited |")
        print("|---" * 16 + "|")
        measure("grad", a.images, [], a, folder, a.arch, str(weights), str(images))
        measure("grad, evaluated", a.evaluated, ["--evaluate"], a, folder, a.arch, str(weights), str(images))


if __name__ == "__main__":
    main()
