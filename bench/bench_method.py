#!/usr/bin/env python3
"""Whole attributions: the engine against the way the published research code works, alternating in one run.

    bench/run method [ARCH...] [--threads 2] [--repeats 5] [--slow-repeats 2] [--only PART,...]

PARTs, each on the same threads and the same weights, 224x224, medians of wall time an image (a configuration where there are
16), `cls` at quantile 0.1 on the layers that are the engine's `default`:
    grad        one gradient with ParchGrad
    evaluation  that, and both perturbation curves at ratios 0, .1, .2, .3, .4, .5
    grid        16 configurations of an image: layer ratios 1, .9, .5, .3, quantiles .05 and .1, conservation on and off
    paths       ig (25 steps) and smoothgrad (25 draws)
    hooks       ours alone: ParchGrad, and a gradient that measures but scales nothing (mask off), against a gradient without any
                hook, which no configuration of the product gives: engine_server takes the hooks out. In turn, medians of each
                round's ratio, by wall and by processor time.
    memory      ours alone: peak resident memory (VmHWM) of a process that loads the weights' file, after grad, ig and
                smoothgrad, then after the evaluation; with mask cls the p-values of every convolution and class are in it

The research way (PyTorch, Debian's python3-torch): parameters keep requires_grad, so weight gradients are computed as well; one
configuration and one image at a time, PyTorch's threads inside it; a full backward hook on each hooked convolution rescales the
gradient and computes the convolution's input gradient again; hooks are put on and taken off for each attribution; the path of ig
is one batch, smoothgrad's draws come one by one; the evaluation keeps autograd on and computes ratio 0, too. Its masks are given:
what it takes to choose channels is left out, in PyTorch's favour.

Ours is what a worker runs for items once the photographs are decoded: pm_context_attribute_images, and worker/evaluate.c for the
curves; each thread its own images (four for grad and evaluation, else one), as many at once as a worker takes, all configurations
in one call.
"""
import argparse
import itertools
import math
import tempfile
from pathlib import Path

import torch
import torchvision

import paired

ARCHS = ["resnet18", "vgg16_bn", "efficientnet_b0"]
PARTS = ["grad", "evaluation", "grid", "paths", "hooks", "memory"]
SIDE, CLASS, RATIOS = 224, 7, (0, .1, .2, .3, .4, .5)
GRID = list(itertools.product((1, .9, .5, .3), (.05, .1), (True, False)))
GOALS = {("grad", "resnet18"): 6, ("grad", "vgg16_bn"): 6, ("grad", "efficientnet_b0"): 10,
         ("evaluation", "resnet18"): 10, ("evaluation", "vgg16_bn"): 8, ("evaluation", "efficientnet_b0"): 15,
         ("grid", "resnet18"): 12}
MEMORY_GOALS = {"resnet18": (350, 500), "vgg16_bn": (1300, None), "efficientnet_b0": (250, None)}  # MB


class Research:
    """A network as the research code drives it."""

    def __init__(self, arch, path):
        self.arch = arch
        self.net = getattr(torchvision.models, arch)(weights=None)
        self.net.load_state_dict(torch.load(path))
        self.net.eval()
        for module in self.net.modules():  # full backward hooks refuse what is changed in place behind them
            if getattr(module, "inplace", False):
                module.inplace = False
        self.convs = {name: m for name, m in self.net.named_modules() if isinstance(m, torch.nn.Conv2d)}

    def default_layers(self):
        names = list(self.convs)
        if self.arch.startswith("resnet"):
            names = [n for n in names if n[:6] in ("layer3", "layer4") and "downsample" not in n]
        elif self.arch.startswith("vgg"):
            names = [n for n in names if int(n.split(".")[1]) >= len(self.net.features) // 2]
        else:
            names = [n for n in names if n in ("features.6.0.block.1.0", "features.7.0.block.1.0", "features.8.0")]
        return names

    def last_layers(self, ratio):
        names = list(self.convs)
        return names[len(names) - int(ratio * len(names)):]

    @staticmethod
    def _spread(part):
        field = part.sum(0)
        return (field.var() if field.numel() > 1 else field.abs().sum()).item() + 1e-13

    def _hook(self, quantile, conserve):
        def rescale(conv, grads_in, grads_out):
            delta = grads_out[0].clone()
            high = torch.zeros(conv.out_channels, dtype=torch.bool)
            high[:max(1, int(conv.out_channels * quantile))] = True
            for sample in delta:
                m, n = self._spread(sample[high]), self._spread(sample[~high])
                sample[high] *= math.sqrt((m + n) / m) if conserve else 1.
                sample[~high] *= 0.
            return (torch.nn.grad.conv2d_input(grads_in[0].shape, conv.weight, delta, conv.stride, conv.padding, conv.dilation,
                                               conv.groups),)
        return rescale

    def gradient(self, x, layers, quantile=.1, conserve=True):
        hook = self._hook(quantile, conserve)
        handles = [self.convs[name].register_full_backward_hook(hook) for name in layers]
        x = x.detach().requires_grad_(True)
        self.net.zero_grad()
        logits = self.net(x)
        seed = torch.zeros_like(logits)
        seed[:, CLASS] = logits.softmax(1)[:, CLASS].detach()
        logits.backward(seed)
        for handle in handles:
            handle.remove()
        return x.grad

    def grad(self, image, layers, **how):
        return self.gradient(image[None], layers, **how)[0].abs().mean(0)

    def evaluated(self, image, layers):
        heat = self.grad(image, layers)
        scores = []
        for most_first in (True, False):
            order = heat.flatten().argsort(descending=most_first)
            before = self.net(image[None]).softmax(1)[0, CLASS]
            masked = image.flatten(1).repeat(len(RATIOS), 1, 1)
            for row, ratio in zip(masked, RATIOS):
                row[:, order[:int(len(order) * ratio)]] = 0
            after = self.net(masked.view(-1, *image.shape)).softmax(1)[:, CLASS]
            scores.append((before - after).tolist())
        return scores

    def ig(self, image, layers, steps=25):
        path = torch.stack([image * (k / steps) for k in range(steps + 1)])
        g = self.gradient(path, layers)
        return (image * (g[1:] + g[:-1]).mean(0) / 2).mean(0).abs()

    def smoothgrad(self, image, layers, draws=25):
        sigma = .15 * (image.max() - image.min())
        return sum(self.grad(image + sigma * torch.randn_like(image), layers) for _ in range(draws)) / draws


class Bench:
    def __init__(self, arch, args, folder):
        torch.manual_seed(0)
        self.arch, self.args, self.path = arch, args, str(Path(folder) / f"{arch}.pth")
        torch.save(getattr(torchvision.models, arch)(weights=None).state_dict(), self.path)
        self.research = Research(arch, self.path)
        self.layers = self.research.default_layers()
        self.image = torch.randn(3, SIDE, SIDE)

    def engine(self):
        return paired.Engine(self.arch, SIDE, self.args.threads, self.path)

    def pair(self, what, command, images, theirs, share=1, slow=False):
        """One row: `command` of ours on so many images, against `theirs` on one; `share` configurations in both. What is slow
        is warmed up by a gradient alone."""
        engine = self.engine()
        if slow:
            engine.ask(f"attribute {images} mask=cls")
        times = paired.alternate({"ours": lambda: engine.ask(command), "theirs": paired.timed(theirs)},
                                 self.args.slow_repeats if slow else self.args.repeats, warm_up=not slow)
        engine.close()
        ours, theirs = paired.median(times["ours"]) / images / share, paired.median(times["theirs"]) / share
        goal = GOALS.get((what.split()[0], self.arch))
        print(f"| {self.arch} | {what} | {ours:.2f} | {theirs:.1f} | {theirs / ours:.1f} | {goal or ''} |", flush=True)

    def grad(self):
        n = 4 * self.args.threads
        self.pair("grad", f"attribute {n} mask=cls", n, lambda: self.research.grad(self.image, self.layers))

    def evaluation(self):
        n = 4 * self.args.threads
        self.pair("evaluation", f"evaluate {n} mask=cls", n, lambda: self.research.evaluated(self.image, self.layers))

    def grid(self):
        words = [f"mask=cls layers=ratio:{r} quantile={q} vc={'on' if on else 'off'}" for r, q, on in GRID]
        chosen = {r: self.research.last_layers(r) for r, _, _ in GRID}

        def theirs():
            for ratio, quantile, conserve in GRID:
                self.research.grad(self.image, chosen[ratio], quantile=quantile, conserve=conserve)
        n = self.args.threads
        self.pair("grid of 16", f"attribute {n} {' | '.join(words)}", n, theirs, len(GRID))

    def paths(self):
        n = self.args.threads
        for method in ("ig", "smoothgrad"):
            theirs = getattr(self.research, method)
            self.pair(method, f"attribute {n} method={method} mask=cls", n, lambda: theirs(self.image, self.layers),
                      slow=True)

    def hooks(self):
        engine = self.engine()
        n = 4 * self.args.threads
        sides = {what: (lambda w=words: engine.ask_both(f"attribute {n} {w}"))
                 for what, words in (("plain", "layers=none"), ("off", "mask=off"), ("cls", "mask=cls"))}
        times = paired.alternate(sides, 3 * self.args.repeats)
        engine.close()
        for what, name in (("cls", "ParchGrad"), ("off", "measuring alone")):
            more = [paired.median([a[k] / b[k] for a, b in zip(times[what], times["plain"])]) - 1 for k in (0, 1)]
            goal = "3 %" if what == "cls" and self.arch == "resnet18" else ""
            print(f"| {self.arch} | {name} | {len(self.layers)} | {100 * more[0]:+.1f} % | {100 * more[1]:+.1f} % | {goal} |",
                  flush=True)

    def memory(self):
        n, goals = self.args.threads, MEMORY_GOALS.get(self.arch, (None, None))
        for mask in ("off", "cls"):
            engine = self.engine()
            mb = [engine.ask("memory") / 1e6]
            for command in (f"attribute {4 * n} method=grad", f"attribute {n} method=ig", f"attribute {n} method=smoothgrad",
                            f"evaluate {n}"):
                engine.ask(f"{command} mask={mask}")
                mb.append(engine.ask("memory") / 1e6)
            engine.close()
            print(f"| {self.arch} | {mask} | {' | '.join(f'{value:.0f}' for value in mb)} | {goals[0] or ''} | {goals[1] or ''} |",
                  flush=True)


TABLES = [(("grad", "evaluation", "grid", "paths"),
           "| network | what | parchmill, ms | research way, ms | ratio | goal |\n|---|---|---|---|---|---|"),
          (("hooks",), "| network | over a gradient without hooks | hooked layers | wall time | processor time | goal |\n"
                       "|---|---|---|---|---|---|"),
          (("memory",), "| network | mask | MB once loaded | grad | ig | smoothgrad | evaluation | goal | with evaluation |\n"
                        "|---|---|---|---|---|---|---|---|---|")]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("arch", nargs="*", default=ARCHS)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--repeats", type=int, default=5)
    ap.add_argument("--slow-repeats", type=int, default=2, help="of paths")
    ap.add_argument("--only", default=",".join(PARTS), help="comma list of " + ", ".join(PARTS))
    a = ap.parse_args()
    wanted = a.only.split(",")
    if set(wanted) - set(PARTS) or set(a.arch) - set(ARCHS):
        ap.error(f"parts are {', '.join(PARTS)}; networks {', '.join(ARCHS)}")
    torch.set_num_threads(a.threads)
    print(f"{paired.machine()}; {a.threads} threads; PyTorch {torch.__version__}, torchvision {torchvision.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        for parts, head in TABLES:
            if not set(parts) & set(wanted):
                continue
            print(f"\n{head}")
            for arch in a.arch:
                bench = Bench(arch, a, folder)
                for part in parts:
                    if part in wanted and (part != "grid" or arch == "resnet18" or a.arch != ARCHS):
                        getattr(bench, part)()


if __name__ == "__main__":
    main()
