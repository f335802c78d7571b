#!/usr/bin/python3
"""Writes tests/data/experiment: what NumPy and PyTorch make of the experiments' numbers. Run once
with Debian's python3-numpy and python3-torch; the files are committed. Nothing here comes from our
own program: weights and inputs are made of the counter hash (lib/base/random.h: pm_synth)."""
import csv
import os
import statistics

import numpy as np
import torch

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "experiment")
U64 = np.uint64


def synth(name, count):
    h = 0xCBF29CE484222325
    for b in name.encode():
        h = ((h ^ b) * 0x100000001B3) & ((1 << 64) - 1)
    with np.errstate(over="ignore"):
        z = U64(h) + np.arange(count, dtype=U64) + U64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> U64(30))) * U64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> U64(27))) * U64(0x94D049BB133111EB)
        z = z ^ (z >> U64(31))
    return (2.0 * ((z >> U64(40)).astype(np.float64) * 2.0**-24) - 1.0)


def normal(name, count):
    inverse = statistics.NormalDist().inv_cdf
    return np.array([inverse((v + 1) / 2 + 2.0**-25) for v in synth(name, count)])


def board(seed, stride, scale):
    """Gradient to the input [10][10]."""
    def tensor(values, *shape):
        return torch.from_numpy(np.asarray(values)).reshape(*shape)
    x = tensor(normal(f"checkerboard {seed} input", 100), 1, 1, 10, 10).requires_grad_()
    first = tensor(synth(f"checkerboard {seed} first", 64 * 49) / np.sqrt(49), 64, 1, 7, 7)
    second = tensor(synth(f"checkerboard {seed} second", 12 * 64 * 49) / np.sqrt(64 * 49), 12, 64, 7, 7)
    y = torch.relu(torch.conv2d(x, first, stride=stride, padding=3))
    y = torch.conv2d(y, second, stride=stride, padding=3)
    g = tensor(normal(f"checkerboard {seed} gradient {stride}", y.numel()), *y.shape)
    loud = torch.tensor([2.0**-c if c < 6 else 0.0 for c in range(12)], dtype=torch.float64)
    y.backward(g * loud.reshape(1, 12, 1, 1) * scale)
    return x.grad.numpy()[0, 0]


def write(name, header, rows):
    with open(os.path.join(OUT, name), "w", newline="") as f:
        w = csv.writer(f, lineterminator="\n")
        w.writerow(header)
        w.writerows(rows)


os.makedirs(OUT, exist_ok=True)
rows = []
for seed, stride, scale in [(0, 1, 1.0), (0, 2, 1.0), (0, 3, 1.0), (7, 3, 100.0)]:
    g = board(seed, stride, scale)
    rows += [(seed, stride, scale, y, x, repr(float(g[y, x]))) for y in range(10) for x in range(10)]
write("checkerboard.csv", ["seed", "stride", "scale", "row", "column", "gradient"], rows)

rows = []
for seed in [0, 1, 21, 2**32 - 1]:
    np.random.seed(seed)
    draws = [("uniform", np.random.random()) for _ in range(400)]
    draws += [("normal", np.random.standard_normal()) for _ in range(400)]
    rows += [(seed, i, kind, repr(float(v))) for i, (kind, v) in enumerate(draws)
             if i < 3 or i % 97 == 0 or i in (400, 401, 799)]
write("mt19937.csv", ["seed", "index", "kind", "value"], rows)

np.random.seed(21)
sums = [np.random.normal(0, s, n).sum() for s, n in [(0.1, 10), (1.0, 10), (0.1, 100), (0.1, 100)]]
write("gradient_sum_normal.csv", ["h_u", "h_v", "l_u", "l_v"], [[repr(float(v)) for v in sums]])
