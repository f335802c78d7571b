#!/usr/bin/env python3
"""Trains the demo's network and computes its class statistics.

    apt-get install -y --no-install-recommends python3-torch python3-torchvision python3-scipy python3-pil
    parchmill demo --images-only --out train --seed 1 --limit 10000
    parchmill demo --images-only --out held-out --seed 2 --limit 1000
    python3 tools/demo/train.py train held-out tools/demo

Writes demo_resnet20.safetensors (the CIFAR ResNet20 of He et al. 2015, shortcut A, 64 x 64 inputs)
and demo_statistics.safetensors: per convolution the mean and standard deviation (n - 1) of its
activation (mean over space of ReLU of the raw output), its Shapiro-Wilk p, and per class the
one-sided Welch and Student p of "greater than in all other classes", over the first 2,000 training
images. Run once; both files are committed.
"""
import csv, json, struct, sys, time, warnings
from pathlib import Path

import numpy as np
import scipy.stats
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image

MEAN, STD = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
EPOCHS, BATCH, STATISTICS_IMAGES = 14, 100, 2000


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.pad = stride, (outputs - inputs) // 2

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride > 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(x + y)


class ResNet20(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*[Block(16, 16, 1) for _ in range(3)])
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.linear = nn.Linear(64, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


def load(folder):
    rows = list(csv.DictReader(open(Path(folder) / "labels.csv", newline="")))
    pixels = np.stack([np.asarray(Image.open(Path(folder) / r["path"]).convert("RGB")) for r in rows])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return x, torch.tensor([int(r["label"]) for r in rows])


def normalised(x):
    return (x.float() / 255 - MEAN) / STD


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        hits = sum(int((model(normalised(x[i:i + 200])).argmax(1) == y[i:i + 200]).sum()) for i in range(0, len(x), 200))
    return hits / len(x)


def train(model, x, y, held_x, held_y):
    steps = EPOCHS * (len(x) // BATCH)
    optimiser = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.3, total_steps=steps, pct_start=0.25)
    for epoch in range(EPOCHS):
        model.train()
        start, order = time.time(), torch.randperm(len(x))
        for i in range(0, len(x) - BATCH + 1, BATCH):
            pick = order[i:i + BATCH]
            loss = F.cross_entropy(model(normalised(x[pick])), y[pick])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f} held-out {accuracy(model, held_x, held_y):.4f} {time.time() - start:.0f} s", flush=True)


def statistics(model, x, y):
    model.eval()
    convs = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    gaps = {n: [] for n, _ in convs}
    for name, conv in convs:
        conv.register_forward_hook(lambda m, i, o, name=name: gaps[name].append(o.relu().mean(dim=(2, 3))))
    with torch.no_grad():
        for i in range(0, len(x), 100):
            model(normalised(x[i:i + 100]))
    labels, out = y.numpy(), {"classes": np.arange(10)}
    for name, parts in gaps.items():
        a = torch.cat(parts).double().numpy()
        out[f"mean/{name}"], out[f"std/{name}"] = a.mean(0), a.std(0, ddof=1)
        out[f"shapiro/{name}"] = np.nan_to_num([scipy.stats.shapiro(c).pvalue for c in a.T], nan=1.0)
        for kind, equal in (("student", True), ("welch", False)):
            out[f"{kind}/{name}"] = np.stack([np.nan_to_num(scipy.stats.ttest_ind(
                a[labels == k], a[labels != k], equal_var=equal, alternative="greater").pvalue, nan=1.0) for k in range(10)], 1)
    return out


def save(path, tensors, meta):
    header, blob = {"__metadata__": meta}, b""
    for name, t in tensors.items():
        a = np.ascontiguousarray(t, dtype=np.float32)
        header[name] = {"dtype": "F32", "shape": list(a.shape), "data_offsets": [len(blob), len(blob) + a.nbytes]}
        blob += a.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + blob)


def main():
    warnings.simplefilter("ignore")
    torch.manual_seed(1)
    torch.set_num_threads(2)
    (x, y), (held_x, held_y), out = load(sys.argv[1]), load(sys.argv[2]), Path(sys.argv[3])
    model = ResNet20()
    train(model, x, y, held_x, held_y)
    held = accuracy(model, held_x, held_y)
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    save(out / "demo_resnet20.safetensors", state, {"arch": "cifar_resnet20", "held_out_accuracy": f"{held:.4f}"})
    n = min(STATISTICS_IMAGES, len(x))
    save(out / "demo_statistics.safetensors", statistics(model, x[:n], y[:n]), {"arch": "cifar_resnet20", "images": str(n)})
    print(f"held-out accuracy {held:.4f} on {len(held_x)} images")


if __name__ == "__main__":
    main()
