"""Makes tests/data/draws: what lib/base/draw.h and real.h must give, from their descriptions and from libraries of
others. Run once with Debian's python3-scipy and python3-mpmath; the files are committed, the tests need no Python.

    /usr/bin/python3 tests/data/make_draw_vectors.py

normal.csv: p,z        quantiles of the normal distribution in 40 digits (mpmath), rounded to double
draws.csv: seed,image,use,draw,kind,n,first,value...
  word    64-bit words of the stream, ChaCha20 as written in RFC 8439 (checked here against its section 2.3.2)
  below   whole numbers below n
  normal  scipy.special.ndtri, rounded to float32"""
import csv
import hashlib
import struct
from pathlib import Path

import numpy as np
from mpmath import mp, mpf
from scipy.special import ndtri

HERE = Path(__file__).parent / "draws"
M32 = 0xFFFFFFFF


def chacha_block(key, counter, nonce):
    state = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), counter, *struct.unpack("<3I", nonce)]
    x = list(state)

    def quarter(a, b, c, d):
        for to, add, turn, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[to] = (x[to] + x[add]) & M32
            v = x[turn] ^ x[to]
            x[turn] = ((v << by) | (v >> (32 - by))) & M32

    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<16I", *((a + b) & M32 for a, b in zip(x, state)))


assert chacha_block(bytes(range(32)), 1, bytes.fromhex("000000090000004a00000000")).hex().startswith(
    "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e")


def words(seed, image, use, draw):
    key = hashlib.sha256(b"parchmill draw 1" + struct.pack("<Q", seed) + image).digest()
    nonce = struct.pack("<IQ", use, draw)
    for counter in range(1 << 32):
        yield from struct.unpack("<8Q", chacha_block(key, counter, nonce))


def below(stream, n):
    for word in stream:
        if word < 2**64 - 2**64 % n:
            yield word % n


def normals(stream):
    for word in stream:
        yield np.float32(ndtri(((word >> 12) + 0.5) * 2.0**-52))


def take(stream, first, count):
    for _ in range(first):
        next(stream)
    return [next(stream) for _ in range(count)]


def quantile(p):
    """Newton's method on the normal distribution function; p is exact as a double."""
    mp.dps = 60
    p, z = mpf(p), mpf(float(ndtri(p)))
    for _ in range(6):
        z -= (mp.ncdf(z) - p) / mp.npdf(z)
    return float(z)


def main():
    HERE.mkdir(exist_ok=True)
    rng = np.random.default_rng(3)
    points = sorted({*np.arange(1, 400) / 400, *rng.uniform(0, 1, 200), *10.0 ** -rng.uniform(1, 16, 200),
                     *1 - 10.0 ** -rng.uniform(1, 12, 100), 2.0**-53, 1 - 2.0**-53, 0.075, 0.925, 1e-300,
                     float(np.exp(-25.0)), float(np.nextafter(0.5, 1)), float(np.nextafter(0.5, 0))})
    with open(HERE / "normal.csv", "w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["p", "z"])
        for p in points:
            writer.writerow([repr(float(p)), repr(quantile(float(p)))])
    a, b = hashlib.sha256(b"a").digest(), hashlib.sha256(b"b").digest()
    with open(HERE / "draws.csv", "w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow("seed image use draw kind n first values".split())
        for seed, image, use, draw in [(0, a, 0, 0), (1, a, 0, 0), (0, b, 0, 0), (0, a, 1, 0), (0, a, 0, 1),
                                       (2**64 - 1, b, 1, 2**63 + 5)]:
            key = [seed, image.hex(), use, draw]
            for first in (0, 125, 1021):
                writer.writerow([*key, "word", 0, first, *take(words(seed, image, use, draw), first, 5)])
                writer.writerow([*key, "normal", 0, first,
                                 *(repr(float(v)) for v in take(normals(words(seed, image, use, draw)), first, 5))])
            for n in (1, 2, 16, 1000003, 2**63 + 1, 3 * 2**62, 2**64 - 1):
                writer.writerow([*key, "below", n, 0, *take(below(words(seed, image, use, draw), n), 0, 5)])


if __name__ == "__main__":
    main()
