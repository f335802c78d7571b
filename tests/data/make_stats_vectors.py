#!/usr/bin/python3
"""Writes tests/data/stats: what other programs make of samples that tests/stats/samples.c makes
again. Run once with Debian's python3-scipy, python3-mpmath and r-base-core; the files are
committed, the samples are not.

A sample is made of the counter hash (lib/base/random.h: pm_synth) of a stream; whatever passes
through the math library is rounded to 1/4096, so that its last bit does not matter. Nothing here
comes from our own program."""
import csv
import math
import os
import random
import subprocess
import warnings

import mpmath
import numpy as np
import scipy.stats

warnings.simplefilter("ignore")
mpmath.mp.dps = 40
OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stats")
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
    return (2.0 * ((z >> U64(40)).astype(np.float64) * 2.0**-24) - 1.0).astype(np.float32)


def sample(kind, stream, n):
    """float32 [n]; samples.c has the same."""
    u = (synth(stream, 2 * n).astype(np.float64) + 1) / 2            # [0, 1)
    a, b = u[:n], u[n:]
    if kind == "uniform":
        x = a
    elif kind == "exponential":
        x = np.floor(-np.log(1 - a) * 4096) / 4096
    elif kind == "ties":
        x = np.floor(a * 4)
    else:
        x = np.floor(np.sqrt(-2 * np.log(1 - a)) * np.cos(2 * np.pi * b) * 4096) / 4096
        if kind == "relu":
            x = np.maximum(x - 0.5, 0)
        elif kind == "offset":                                       # small beside its mean
            x = 1000 + x / 16
        else:
            assert kind == "normal"
    return x.astype(np.float32)


def write(name, header, rows):
    with open(os.path.join(OUT, name), "w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow(header)
        out.writerows(rows)


def exact_shapiro(x):
    """Algorithm AS R94 (Royston 1995) line by line with 40 digits."""
    mp = mpmath.mpf
    poly = lambda c, v: sum(mp(k) * v**i for i, k in enumerate(c))
    n, h, x = len(x), len(x) // 2, [mp(float(v)) for v in np.sort(x)]
    if n == 3:
        a = [mpmath.sqrt(mp("0.5"))]
    else:
        m = [mpmath.sqrt(2) * mpmath.erfinv(2 * (i + 1 - mp("0.375")) / (n + mp("0.25")) - 1) for i in range(h)]
        total, root = 2 * sum(v * v for v in m), 1 / mpmath.sqrt(n)
        a1 = poly(("0", ".221157", "-.147981", "-2.07119", "4.434685", "-2.706056"), root) - m[0] / mpmath.sqrt(total)
        if n > 5:
            a2 = poly(("0", ".042981", "-.293762", "-1.752461", "5.682633", "-3.582633"), root) - m[1] / mpmath.sqrt(total)
            fac = mpmath.sqrt((total - 2 * m[0]**2 - 2 * m[1]**2) / (1 - 2 * a1**2 - 2 * a2**2))
            a = [a1, a2] + [-v / fac for v in m[2:]]
        else:
            fac = mpmath.sqrt((total - 2 * m[0]**2) / (1 - 2 * a1**2))
            a = [a1] + [-v / fac for v in m[1:]]
    mean = sum(x) / n
    sax = sum(a[i] * (x[n - 1 - i] - x[i]) for i in range(h))
    w = sax**2 / (2 * sum(v * v for v in a) * sum((v - mean)**2 for v in x))
    if n == 3:
        return w, max(mp(0), 6 / mpmath.pi * (mpmath.asin(mpmath.sqrt(w)) - mpmath.asin(mpmath.sqrt(mp("0.75")))))
    if w == 1:
        return w, mp(1)
    y, ln = mpmath.log(1 - w), mpmath.log(n)
    if n <= 11:
        y = -mpmath.log(poly(("-2.273", ".459"), n) - y)
        mu, s = poly((".5440", "-.39978", ".025054", "-6.714e-4"), n), poly(("1.3822", "-.77857", ".062767", "-.0020322"), n)
    else:
        mu, s = poly(("-1.5861", "-.31082", "-.083751", ".0038915"), ln), poly(("-.4803", "-.082676", ".0030302"), ln)
    return w, mpmath.erfc((y - mu) / mpmath.exp(s) / mpmath.sqrt(2)) / 2


def r_shapiro(samples):
    """R's shapiro.test of each, in double; it takes no more than 5,000 values."""
    lines = "\n".join(" ".join("%.17g" % v for v in x) for x in samples)
    code = """for (line in readLines(file("stdin"))) {
        t <- shapiro.test(as.numeric(strsplit(line, " ")[[1]]))
        cat(sprintf("%.17g %.17g\\n", t$statistic, t$p.value)) }"""
    out = subprocess.run(["Rscript", "-e", code], input=lines, capture_output=True, text=True, check=True).stdout
    return [tuple(map(float, line.split())) for line in out.splitlines()]


def make_shapiro():
    cases = []
    for n in (3, 4, 5, 6, 11, 12, 20, 50, 500, 2000, 5000, 20000):
        for kind in ("normal", "uniform", "exponential", "ties", "relu", "offset"):
            stream = f"shapiro/{kind}/{n}"
            cases.append((kind, stream, sample(kind, stream, n)))
    theirs = iter(r_shapiro([x for _, _, x in cases if len(x) <= 5000]))
    rows = []
    for kind, stream, x in cases:
        exact, (w, p) = exact_shapiro(x), scipy.stats.shapiro(x)
        r = next(theirs) if len(x) <= 5000 else (float("nan"),) * 2
        rows.append([kind, stream, len(x)] + ["%.17g" % float(v) for v in (*exact, *r, w, p)])
    write("shapiro.csv", ["kind", "stream", "n", "exact_w", "exact_p", "r_w", "r_p", "scipy_w", "scipy_p"], rows)


def exact_t_test(a, b, welch):
    """With 40 digits: t, its degrees of freedom, and the tail as an incomplete beta function."""
    def moments(x):
        x = [mpmath.mpf(float(v)) for v in x]
        mean = sum(x) / len(x)
        return len(x), mean, sum((v - mean)**2 for v in x)
    (na, ma, sa), (nb, mb, sb) = moments(a), moments(b)
    va, vb = sa / (na - 1) / na, sb / (nb - 1) / nb
    if welch:
        df, square = (va + vb)**2 / (va**2 / (na - 1) + vb**2 / (nb - 1)), va + vb
    else:
        df = mpmath.mpf(na + nb - 2)
        square = (sa + sb) / df * (mpmath.mpf(1) / na + mpmath.mpf(1) / nb)
    t = (ma - mb) / mpmath.sqrt(square)
    tail = mpmath.betainc(df / 2, mpmath.mpf(1) / 2, 0, df / (df + t * t), regularized=True) / 2
    return tail if t >= 0 else 1 - tail


def make_t_tests():
    """shift and scale: a = shift + scale * sample, in double."""
    rows = []
    for kind, na, nb, shift, scale in (
            ("normal", 2, 2, 0, 1), ("normal", 3, 50, 0.5, 2), ("normal", 5, 4, -1, 1), ("normal", 20, 14, 8, 1),
            ("normal", 20, 13, 6, 1), ("normal", 40, 30, 1.5, 1), ("normal", 40, 30, 4, 1), ("normal", 50, 4950, 0, 1),
            ("normal", 50, 4950, 3, 1), ("normal", 60, 400, 5, 2), ("normal", 300, 300, 1.75, 1),
            ("normal", 300, 5000, 1.5, 1), ("normal", 1000, 9000, 0.8, 1), ("normal", 1000, 29000, 1.2, 1.5),
            ("normal", 1000, 9000, -0.8, 1), ("normal", 20, 30, -7, 1), ("relu", 50, 5000, 0, 1),
            ("relu", 50, 5000, 0.25, 1), ("relu", 10, 90, 0.75, 3), ("ties", 12, 88, 0.5, 1), ("uniform", 30, 30, 0.125, 1),
            ("offset", 30, 300, 0.125, 1), ("exponential", 100, 100, 1, 1)):
        names = [f"ttest/{len(rows)}/{side}" for side in "ab"]
        a = shift + scale * sample(kind, names[0], na).astype(np.float64)
        b = sample(kind, names[1], nb).astype(np.float64)
        row = [kind, names[0], na, names[1], nb, shift, scale]
        for welch in (True, False):
            p = scipy.stats.ttest_ind(a, b, equal_var=not welch, alternative="greater").pvalue
            row += ["%.17g" % float(exact_t_test(a, b, welch)), "%.17g" % p]
        rows.append(row)
    write("ttest.csv", ["kind", "stream_a", "na", "stream_b", "nb", "shift", "scale", "exact_welch", "scipy_welch",
                        "exact_student", "scipy_student"], rows)


def make_spearman():
    """b = mix * a + noise, in double, then float32."""
    rows = []
    for kind_a, kind_b, n, mix in (
            ("normal", "normal", 2, 0), ("normal", "normal", 3, 0), ("ties", "ties", 10, 0), ("normal", "normal", 10, 1),
            ("uniform", "exponential", 1000, 0), ("normal", "normal", 1000, 2), ("normal", "normal", 1000, -0.5),
            ("relu", "relu", 1000, 0), ("relu", "ties", 1000, 1), ("relu", "relu", 50176, 1), ("uniform", "normal", 50176, -3),
            ("ties", "ties", 50176, 0)):
        names = [f"spearman/{len(rows)}/{side}" for side in "ab"]
        a, noise = sample(kind_a, names[0], n), sample(kind_b, names[1], n)
        b = (mix * a.astype(np.float64) + noise).astype(np.float32)
        rows.append([kind_a, names[0], kind_b, names[1], n, mix, "%.17g" % scipy.stats.spearmanr(a, b).correlation])
    write("spearman.csv", ["kind_a", "stream_a", "kind_b", "stream_b", "n", "mix", "rho"], rows)


def make_paired():
    """SciPy's paired test and interval, and p again with 40 digits."""
    rows = []
    for kind, n, shift in (("normal", 2, 0), ("normal", 3, 1), ("uniform", 10, 0.1), ("exponential", 30, 0),
                           ("normal", 126, 0.05), ("normal", 126, 2), ("relu", 1000, 0), ("normal", 50000, 0.01),
                           ("normal", 50000, 1)):
        names = [f"paired/{len(rows)}/{side}" for side in "ab"]
        a, b = sample(kind, names[0], n).astype(np.float64), sample(kind, names[1], n).astype(np.float64) + shift
        d = b - a
        t = math.sqrt(n) * d.mean() / d.std(ddof=1)
        df = mpmath.mpf(n - 1)
        exact = mpmath.betainc(df / 2, mpmath.mpf("0.5"), 0, df / (df + mpmath.mpf(t)**2), regularized=True)
        scipy_t, scipy_p = scipy.stats.ttest_rel(b, a)
        half = scipy.stats.t.ppf(0.975, n - 1) * scipy.stats.sem(d)
        assert abs(scipy_t / t - 1) < 1e-9
        rows.append([kind, *names, n, shift] + ["%.17g" % v for v in (d.mean(), half, scipy_t, scipy_p)]
                    + [mpmath.nstr(exact, 17)])
    write("paired.csv", ["kind", "stream_a", "stream_b", "n", "shift", "mean", "ci95", "t", "scipy_p", "exact_p"], rows)


def heat_map(kind, stream, h, w):
    m = np.abs(synth(stream, h * w)).reshape(h, w)
    return {"fine": m, "coarse": np.floor(m * 4), "zero": m * 0}[kind].astype(np.float32)


def make_boxes():
    """By masks: the union of the boxes; a disk around the first maximum, as TorchRay's
    PointingGame.evaluate has it. Four boxes (xmin ymin xmax ymax) a row, the empty ones too."""
    rng, rows = random.Random(7), []
    for i in range(80):
        h, w = rng.randint(20, 60), rng.randint(20, 60)
        kind = rng.choice(("fine", "coarse", "fine", "coarse", "zero"))
        m, boxes = heat_map(kind, f"boxes/{i}", h, w).astype(np.float64), []
        for _ in range(4):
            box = [0, 0, 0, 0]
            if rng.random() < 0.6:
                size = rng.choice((3, 12, 40))
                x, y = rng.randrange(w), rng.randrange(h)
                box = [x, y, min(w, x + rng.randrange(size)), min(h, y + rng.randrange(size))]
            boxes.append([0, 0, w, h] if rng.random() < 0.04 else box)
        mask = np.zeros((h, w), bool)
        for x0, y0, x1, y1 in boxes:
            mask[y0:y1, x0:x1] = True
        py, px = np.unravel_index(np.argmax(m), m.shape)
        disk = (np.arange(h)[:, None] - py)**2 + (np.arange(w)[None, :] - px)**2 < 15**2
        hit = "none" if not mask.any() or not m.any() else int((mask & disk).any())
        if not mask.any() or mask.all() or not m.any():
            reason = "box-empty" if not mask.any() else "box-full" if mask.all() else "map-zero"
            scores = [0] * 4
        else:
            total, inside = math.fsum(m.ravel()), math.fsum(m[mask]) / math.fsum(m.ravel())
            outside = math.fsum(m[~mask]) / total
            reason, scores = "ok", [inside, inside * m.size / mask.sum(), outside, outside * m.size / (~mask).sum()]
        rows.append([kind, f"boxes/{i}", h, w, " ".join(str(v) for box in boxes for v in box), reason, hit]
                    + ["%.17g" % v for v in scores])
    write("boxes.csv", ["kind", "stream", "height", "width", "boxes", "reason", "pointing",
                        "mu_in", "mu_in_w", "mu_out", "mu_out_w"], rows)


if __name__ == "__main__":
    make_shapiro()
    make_t_tests()
    make_spearman()
    make_boxes()
    make_paired()
