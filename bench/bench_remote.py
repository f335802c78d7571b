#!/usr/bin/env python3
"""What it costs that a worker does not see the broker's files: images a second of one worker that fetches every byte, against the
same worker with shared paths.

    bench/run remote [--images 2000] [--photographs 120] [--rounds 3] [--threads 1]

A standing broker and one worker on this machine, in turn with shared paths (ipc), and with --no-shared-paths and an empty cache
over ipc, over tcp without encryption and over tcp with keys (CURVE); last with the cache that the run before has filled. First the
demo's network (cifar_resnet20) and its pictures: nearly all of it is overhead. Then resnet18 with photographs of PARCHMILL_DATA,
else drawn ones. Images a second are those between the first recorded result and the last. Medians of the rounds, and the median of
each round's ratio to shared paths. The goal: within 20 % for resnet18.
"""
import argparse
import os
import shutil
import sqlite3
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import paired

GOAL = 0.8
BIN = paired.BUILD / "bin"
WAYS = ["shared paths", "ipc", "tcp", "tcp with keys", "cache"]


def photographs(folder, count):
    found = sorted((Path(os.environ["PARCHMILL_DATA"]) / "ilsvrc_val" / "images").rglob("*.JPEG"))[:count]
    for path in found:
        shutil.copy(path, folder)
    return len(found)


class Keys:
    """One broker's and one peer's, and the list that lets it in."""

    def __init__(self, folder):
        self.folder, self.allow = folder, folder / "allow"
        lines = [self.make(role) for role in ("broker", "client", "worker")][1:]
        self.allow.write_text("".join(lines))

    def make(self, role):
        return subprocess.run([BIN / "parchmill", "keygen", "--role", role, "--name", role, "--out", self.folder / role], check=True,
                              stdout=subprocess.PIPE, text=True).stdout

    def broker(self):
        return ["--key", self.folder / "broker.key", "--allow", self.allow]

    def peer(self, role):
        return ["--key", self.folder / f"{role}.key", "--broker-key", self.folder / "broker.pub"]


def measure(folder, keys, way, spec, threads):
    """Images a second of a fresh database; the cache is the folder's, emptied but for the way that uses it."""
    db, cache = folder / "bench.db", folder / "cache"
    for old in folder.glob("bench.db*"):
        old.unlink()
    if way != "cache":
        shutil.rmtree(cache, ignore_errors=True)
    url = f"ipc://{folder}/s" if way in ("shared paths", "ipc", "cache") else "tcp://127.0.0.1:47311"
    peer = {"tcp": lambda role: ["--insecure"], "tcp with keys": keys.peer}.get(way, lambda role: [])
    own = {"tcp": ["--insecure"], "tcp with keys": keys.broker()}.get(way, [])
    log = open(folder / "log", "w")
    broker = subprocess.Popen([BIN / "parchmill-broker", "--db", db, "--listen", url, *own], stderr=log)
    worker = None
    try:
        subprocess.run([BIN / "parchmill", "submit", "--broker", url, *peer("client"), *spec], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        worker = subprocess.Popen([BIN / "parchmill-worker", "--broker", url, *peer("worker"), "--threads", str(threads), "--cache", cache,
                                   *([] if way == "shared paths" else ["--no-shared-paths"])], stderr=log)
        while True:
            time.sleep(0.2)
            with sqlite3.connect(f"file:{db}?mode=ro", uri=True) as opened:
                if opened.execute("SELECT state FROM run").fetchone()[0] == "done":
                    break
            if broker.poll() is not None or worker.poll() is not None:
                raise SystemExit((folder / "log").read_text())
    finally:
        for child in (worker, broker):
            if child:
                child.terminate()
                child.wait()
    with sqlite3.connect(db) as opened:
        failed, = opened.execute("SELECT count(*) FROM result WHERE error IS NOT NULL").fetchone()
        first, last, recorded = opened.execute("SELECT min(recorded_ms), max(recorded_ms), count(*) FROM result").fetchone()
        at_first, = opened.execute("SELECT count(*) FROM result WHERE recorded_ms = ?", (first,)).fetchone()
    if failed:
        raise SystemExit(f"{failed} images failed: see {folder}/log")
    return (recorded - at_first) * 1e3 / (last - first)


def compare(what, folder, keys, spec, rounds, threads):
    rates = {way: [] for way in WAYS}
    for round_ in range(rounds + 1):
        for way in WAYS:
            rate = measure(folder, keys, way, spec, threads)
            if round_:
                rates[way].append(rate)
    row = [f"{statistics.median(rates['shared paths']):.1f}"]
    for way in WAYS[1:]:
        ratio = statistics.median(a / b for a, b in zip(rates[way], rates["shared paths"]))
        row.append(f"{statistics.median(rates[way]):.1f} ({ratio:.2f})")
    print(f"| {what} | " + " | ".join(row) + " |", flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--images", type=int, default=2000)
    ap.add_argument("--photographs", type=int, default=120)
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--threads", type=int, default=1)
    a = ap.parse_args()
    source = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = Keys(folder)
        print(f"{paired.machine()}; one worker of {a.threads} thread(s); images a second (ratio to shared paths); goal {GOAL} for "
              f"resnet18\n")
        print("| network | " + " | ".join(WAYS) + " |\n" + "|---" * (len(WAYS) + 1) + "|")
        demo = folder / "demo"
        subprocess.run([BIN / "parchmill", "demo", "--out", demo, "--images-only", "--limit", str(a.images)], check=True,
                       stdout=subprocess.DEVNULL)
        compare("cifar_resnet20, demo", folder, keys,
                ["--model", "cifar_resnet20", "--weights", source / "tools/demo/demo_resnet20.safetensors", "--images", demo],
                a.rounds, a.threads)
        if "PARCHMILL_DATA" in os.environ:
            images = folder / "photographs"
            images.mkdir()
            count = photographs(images, a.photographs)
            weights = next((Path(os.environ["PARCHMILL_DATA"]) / "weights").glob("resnet18*"))
            compare(f"resnet18, {count} photographs", folder, keys,
                    ["--model", "resnet18", "--weights", weights, "--images", images], a.rounds, a.threads)


if __name__ == "__main__":
    main()
