#!/usr/bin/python3
"""Writes tests/data/sql/answers.tsv: questions that carry their data with them, and what NumPy and
SciPy answer. Run once with Debian's python3-scipy; the file is committed. Nothing here comes from
our own program.

A row: kind (number, null, blob), the answer (%.17g or hex), the question."""
import os
import random

import mpmath
import numpy as np
import scipy.stats

mpmath.mp.dps = 30

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sql", "answers.tsv")
rng = random.Random(11)
rows = []


def add(question, answer):
    if isinstance(answer, bytes):
        rows.append(("blob", answer.hex(), question))
    elif answer is None:
        rows.append(("null", "", question))
    else:
        rows.append(("number", "%.17g" % answer, question))


def values(*columns):
    cell = lambda v: "NULL" if v is None else repr(v)
    return "(VALUES " + ", ".join("(" + ", ".join(map(cell, row)) + ")" for row in zip(*columns)) + ")"


def blob(values, kind="<f4"):
    return "x'" + np.asarray(values).astype(kind).tobytes().hex() + "'"


def t_quantile(df):
    """At 0.975. SciPy's own is good to 4e-9 only where df is 39."""
    first = scipy.stats.t.ppf(0.975, df)
    tail = lambda t: mpmath.betainc(mpmath.mpf(df) / 2, 0.5, 0, df / (df + t * t), regularized=True) / 2
    exact = float(mpmath.findroot(lambda t: tail(t) - mpmath.mpf("0.025"), first))
    assert abs(exact / first - 1) < 1e-7
    return exact


def samples():
    yield [1.5]
    yield [2, 1]
    yield [-3.0, 1e9, 1e-9]
    yield [1e15 + i for i in (1, 2, 4, 7)]          # small beside its mean
    yield [float(rng.randint(0, 3)) for _ in range(40)]
    for n in (5, 16, 101, 400):
        yield [rng.gauss(0, 1) for _ in range(n)]
    yield [rng.expovariate(1) for _ in range(99)]


for x in samples():
    have = x + [None]                                # NULLs are left out
    rng.shuffle(have)
    source = values(have)
    x = np.array(x, float)
    add(f"SELECT median(column1) FROM {source}", np.median(x))
    for p in (0, 2.5, 25, 33.3, 50, 97.5, 100):
        add(f"SELECT percentile(column1, {p}) FROM {source}", np.percentile(x, p))
    add(f"SELECT stddev(column1) FROM {source}", x.std(ddof=1) if len(x) > 1 else None)
    half = t_quantile(len(x) - 1) * scipy.stats.sem(x) if len(x) > 1 else None
    add(f"SELECT ci95(column1) FROM {source}", half)

for n, shift in ((2, 1), (3, 0), (10, 0.2), (60, 0), (60, 0.1), (400, 1)):
    a = [rng.gauss(0, 1) for _ in range(n)]
    b = [0.6 * v + rng.gauss(shift, 0.5) for v in a]
    source = values(a + [None, 1.0], b + [2.0, None])
    t, p = scipy.stats.ttest_rel(b, a)
    add(f"SELECT ttest_paired_t(column1, column2) FROM {source}", t)
    add(f"SELECT ttest_paired_p(column1, column2) FROM {source}", p)
    add(f"SELECT corr(column1, column2) FROM {source}", scipy.stats.pearsonr(a, b)[0])
add(f"SELECT corr(column1, column2) FROM {values([1.0, 2.0], [3.0, 3.0])}", None)
add(f"SELECT corr(column1, column2) FROM {values([1.0], [3.0])}", None)

for t in (0, 0.5, -1, 2.1, -12.5, 40):
    for df in (1, 2.5, 30, 1e6):
        add(f"SELECT student_t_p({t!r}, {df!r})", 2 * scipy.stats.t.sf(abs(t), df))

blobs = [[rng.gauss(0, 1) for _ in range(37)] for _ in range(9)]
source = "(SELECT column1 FROM (VALUES " + ", ".join(f"({blob(b)})" for b in blobs) + ", (NULL)))"
stored = np.array(blobs, np.float32)
add(f"SELECT mean_f32(column1) FROM {source}", stored.astype(float).mean(0).astype("<f4").tobytes())
for i in (0, 17, 36):
    add(f"SELECT f32({blob(blobs[0])}, {i})", float(stored[0][i]))
add(f"SELECT f32({blob(blobs[0])}, 37)", None)
add(f"SELECT f32_count({blob(blobs[0])})", 37)
add(f"SELECT sum(value * (i + 1)) FROM values_f32({blob(blobs[1])})",
    float((stored[1].astype(float) * np.arange(1, 38)).sum()))
add(f"SELECT value FROM values_f32({blob(blobs[1])}) WHERE i = 36", float(stored[1][36]))

bits = np.array([[rng.random() < 0.4 for _ in range(64)] for _ in range(12)])
packed = [np.packbits(row, bitorder="little").tobytes() for row in bits]
source = "(VALUES " + ", ".join(f"(x'{b.hex()}')" for b in packed) + ")"
add(f"SELECT count_bits(column1) FROM {source}", bits.sum(0).astype("<f4").tobytes())
add(f"SELECT sum(value * (i + 1)) FROM values_bits(x'{packed[0].hex()}')",
    int((bits[0] * np.arange(1, 65)).sum()))
for i in (0, 1, 7, 8, 63):
    add(f"SELECT bit(x'{packed[3].hex()}', {i})", int(bits[3][i]))
add(f"SELECT bit(x'{packed[3].hex()}', 64)", None)

with open(OUT, "w") as f:
    f.writelines("\t".join(row) + "\n" for row in rows)
