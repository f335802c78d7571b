#!/usr/bin/env python3
"""Input gradient of an image: the engine against PyTorch, both on the same threads, alternating in one run.

    bench/run networks [ARCH...] [--threads 2] [--repeats 9] [--side 224]

PyTorch (Debian's python3-torch): forward and gradient to the input, parameters without gradients, as it is and in
channels_last, batches of 1 and 8; its best mode counts. The engine: a gradient with nothing hooked of 8 images, shared out
over as many threads. Medians of wall time an image; ratios of those.
"""
import argparse

import torch
import torchvision

import paired


def gradient(model, x):
    x = x.detach().requires_grad_(True)
    logits = model(x)
    seed = torch.zeros_like(logits)
    seed[:, 7] = torch.softmax(logits, -1)[:, 7].detach()
    logits.backward(gradient=seed)
    return x.grad


def torch_sides(arch, side):
    torch.manual_seed(0)
    plain = getattr(torchvision.models, arch)(weights=None).eval()
    last = getattr(torchvision.models, arch)(weights=None).eval().to(memory_format=torch.channels_last)
    for model in (plain, last):
        for p in model.parameters():
            p.requires_grad_(False)
    sides = {}
    for batch in (1, 8):
        x = torch.randn(batch, 3, side, side)
        y = x.contiguous(memory_format=torch.channels_last)
        sides[f"PyTorch batch {batch}"] = (batch, paired.timed(lambda x=x: gradient(plain, x)))
        sides[f"PyTorch batch {batch} channels_last"] = (batch, paired.timed(lambda y=y: gradient(last, y)))
    return sides


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("arch", nargs="*", default=["resnet18", "vgg16_bn", "efficientnet_b0"])
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--repeats", type=int, default=9)
    ap.add_argument("--side", type=int, default=224)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    print(f"{paired.machine()}; {a.threads} threads; PyTorch {torch.__version__}, torchvision {torchvision.__version__}")
    print("| network | side | ms an image | ratio to the engine |\n|---|---|---|---|")
    for arch in a.arch or ["resnet18", "vgg16_bn", "efficientnet_b0"]:
        engine = paired.Engine(arch, a.side, a.threads)
        sides = {f"parchmill {engine.isa}": (8, lambda: engine.ask("attribute 8 layers=none")), **torch_sides(arch, a.side)}
        times = paired.alternate({name: run for name, (_, run) in sides.items()}, a.repeats)
        ms = {name: paired.median(times[name]) / sides[name][0] for name in sides}
        engine.close()
        ours = next(iter(ms.values()))
        for name, value in ms.items():
            print(f"| {arch} | {name} | {value:.2f} | {value / ours:.2f} |")
        best = min(value for name, value in ms.items() if name.startswith("PyTorch"))
        print(f"| {arch} | **PyTorch's best** | {best:.2f} | **{best / ours:.2f}** |", flush=True)


if __name__ == "__main__":
    main()
