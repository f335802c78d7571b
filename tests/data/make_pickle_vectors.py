#!/usr/bin/python3
"""Writes tests/data/pickles: statistics of cifar_resnet20 with 10 classes as the research code
leaves them (lists of tensors by pickle.dump, HIGHEST_PROTOCOL), and lists that must be refused.
Run once with Debian's python3-torch; the files are committed.

Values come from the counter hash (lib/base/random.h: pm_synth), stream = KIND/INDEX, rounded down to
1/64: p-values (v + 1) / 2, means v + 1, deviations (v + 1) / 2. One p-value is NaN, as of a
constant channel. tests/statistics/import_test.c computes the same values."""
import os
import pickle

import torch

from make_weights_vectors import synth

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pickles")
CHANNELS = [16] * 7 + [32] * 6 + [64] * 6
CLASSES = 10


def p_values(kind, *columns):
    return [(synth("%s/%d" % (kind, i), c, *columns) + 1) / 2 for i, c in enumerate(CHANNELS)]


def save(name, value):
    with open(os.path.join(OUT, name), "wb") as f:
        pickle.dump(value, f, pickle.HIGHEST_PROTOCOL)


def good():
    shapiro = p_values("shapiro")
    shapiro[3][5] = float("nan")
    save("shapiro_p_values.pkl", shapiro)
    save("cls_p_values.pkl", p_values("cls", CLASSES))
    save("gap_mean.pkl", [synth("mean/%d" % i, c) + 1 for i, c in enumerate(CHANNELS)])
    save("gap_std.pkl", p_values("std"))


def bad():
    beyond, negative, narrow = p_values("shapiro"), p_values("std"), p_values("shapiro")
    beyond[18][63] = 1.5
    negative[0][0] = -0.25
    narrow[12] = narrow[12][:31]
    save("bad_beyond.pkl", beyond)
    save("bad_negative.pkl", negative)
    save("bad_narrow.pkl", narrow)
    save("bad_few.pkl", p_values("shapiro")[:18])
    save("bad_classes.pkl", [torch.zeros(c, CLASSES + 1) for c in CHANNELS[:1]])
    save("bad_mixed.pkl", [*p_values("shapiro")[:18], "a word"])


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    good()
    bad()
