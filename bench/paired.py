"""What the paired benchmarks share: the engine as a child process, and runs that alternate."""
import os
import platform
import statistics
import subprocess
import time
from pathlib import Path

BUILD = Path(os.environ.get("PARCHMILL_BUILD", Path(__file__).resolve().parent.parent / "build" / "bench"))


class Engine:
    """bench/engine_server as a child; see the head of engine_server.c."""

    def __init__(self, arch, side, threads, weights=None):
        command = [BUILD / "bin" / "engine_server", arch, str(side), str(threads), *([weights] if weights else [])]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.isa = self._line().split()[1]

    def _line(self):
        line = self.child.stdout.readline().strip()
        if not line or line.startswith("error"):
            raise SystemExit(f"engine_server: {line or 'ended'}")
        return line

    def ask_both(self, command):
        """Milliseconds of wall and of processor time, as a list."""
        self.child.stdin.write(command + "\n")
        self.child.stdin.flush()
        return [float(word) for word in self._line().split()]

    def ask(self, command):
        return self.ask_both(command)[0]

    def close(self):
        self.child.stdin.close()
        self.child.wait()


def timed(work):
    def run():
        start = time.perf_counter()
        work()
        return (time.perf_counter() - start) * 1e3
    return run


def alternate(sides, repeats, warm_up=True):
    """sides: {name: function that returns milliseconds}. A round to warm up, then rounds in turn: {name: [what it returned]}."""
    times = {name: [] for name in sides}
    for round_ in range(0 if warm_up else 1, repeats + 1):
        for name, run in sides.items():
            ms = run()
            if round_:
                times[name].append(ms)
    return times


def median(values):
    return statistics.median(values)


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}"
