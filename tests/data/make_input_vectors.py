"""Makes tests/data/inputs: what lib/image/inputs.h must make of tests/data/images/rgb.png, by its description, SciPy's
Gaussian filter and the ChaCha20 of make_draw_vectors.py. Run once with Debian's python3-pil and python3-scipy; the
files are committed, the tests need no Python.

    /usr/bin/python3 tests/data/make_input_vectors.py

inputs.csv: input,seed,image,file    the image is the SHA-256 that keys the randomness
tensor.csv: side,sigma,index,value   of pm_synth("blur/SIDE"), [3][side][side], blurred"""
import csv
import hashlib
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from make_draw_vectors import normals, words

HERE = Path(__file__).parent / "inputs"


def blur(picture, radius):
    planes = [gaussian_filter(picture[:, :, c].astype(np.float64), radius, mode="nearest", truncate=4) for c in range(3)]
    return np.floor(np.stack(planes, -1) + 0.5).astype(np.uint8)


def below(stream, n):
    while True:
        word = next(stream)
        if word < 2**64 - 2**64 % n:
            return word % n


def jigsaw(picture, grid, swaps, stream):
    height, width = picture.shape[0] // grid, picture.shape[1] // grid
    tiles = [picture[y * height:(y + 1) * height, x * width:(x + 1) * width].copy()
             for y in range(grid) for x in range(grid)]
    for _ in range(swaps):
        a, b = below(stream, grid * grid), below(stream, grid * grid - 1)
        b += b >= a
        tiles[a], tiles[b] = tiles[b], tiles[a]
    out = picture.copy()
    for i, tile in enumerate(tiles):
        y, x = i // grid * height, i % grid * width
        out[y:y + height, x:x + width] = tile
    return out


def noise(picture, sigma, stream):
    z = np.fromiter(normals(stream), np.float32, picture.size).astype(np.float64).reshape(picture.shape)
    return np.floor(np.clip(picture + 255.0 * sigma * z, 0, 255) + 0.5).clip(0, 255).astype(np.uint8)


def synth(name, shape):
    """lib/base/random.h, pm_synth."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    z = np.uint64(h) + np.arange(np.prod(shape), dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (2 * ((z >> np.uint64(40)).astype(np.float64) * 2.0**-24) - 1).astype(np.float32).reshape(shape)


def main():
    HERE.mkdir(exist_ok=True)
    picture = np.asarray(Image.open(HERE.parent / "images" / "rgb.png").convert("RGB"))
    a, b = hashlib.sha256(b"a").digest(), hashlib.sha256(b"b").digest()
    cases = [("blur:radius=0.1", 0, a), ("blur:radius=0.7", 0, a), ("blur:radius=3", 5, b), ("blur:radius=25", 0, a),
             ("jigsaw:grid=4,swaps=8", 0, a), ("jigsaw:grid=4,swaps=8", 1, a), ("jigsaw:grid=4,swaps=8", 0, b),
             ("jigsaw:grid=2,swaps=1", 0, a), ("jigsaw:grid=9,swaps=1000", 2**64 - 1, b), ("jigsaw:grid=43,swaps=50", 3, a),
             ("noise:sigma=0.1", 0, a), ("noise:sigma=0.1", 1, a), ("noise:sigma=0.1", 0, b), ("noise:sigma=1", 9, b)]
    with open(HERE / "inputs.csv", "w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONE, delimiter=";")
        writer.writerow("input seed image file".split())
        for i, (text, seed, image) in enumerate(cases):
            kind, _, values = text.partition(":")
            values = [float(v.split("=")[1]) for v in values.split(",")]
            stream = words(seed, image, 1, 0)
            made = (blur(picture, values[0]) if kind == "blur" else noise(picture, values[0], stream) if kind == "noise"
                    else jigsaw(picture, int(values[0]), int(values[1]), stream))
            Image.fromarray(made).save(HERE / f"{i:02}_{kind}.png")
            writer.writerow([text, seed, image.hex(), f"{i:02}_{kind}.png"])
    with open(HERE / "tensor.csv", "w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow("side sigma index value".split())
        for side, sigma in [(1, 2.0), (7, 0.8), (24, 3.3), (33, 10.0), (19, 100.0)]:
            x = synth(f"blur/{side}", (3, side, side)).astype(np.float64)
            blurred = np.stack([gaussian_filter(plane, sigma, mode="nearest", truncate=4) for plane in x]).reshape(-1)
            for index in range(0, blurred.size, 1 if side < 8 else 11):
                writer.writerow([side, sigma, index, repr(float(blurred[index]))])


main()
