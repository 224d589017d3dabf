#!/usr/bin/env python3
"""Measure whether the foundation pair is worth adapting, on the bundled few-shot Fashion-MNIST.

    python3 check.py [--data DIR] [--teacher DIR] [--student DIR] [--seeds N] [--only probes]

Prints top-1 accuracy on the validation images of
- logistic regression on pixels, and on the features (CLS and the mean of the patches) of each encoder, trained and untrained;
  the strength of its L2 penalty is chosen by 5-fold cross-validation on the training images alone;
- what `slad train` does with one encoder, in PyTorch: `probe` (head only) and `lora` (rank 16 on the fused query, key, value,
  and the head), 30 epochs with the program's default recipe, for a number of seeds.
Ends with exit status 1 unless a probe of each encoder beats pixels by 3 points and its untrained self by 10, and LoRA beats
the probe. Needs torch, transformers and Pillow.
"""
import argparse
import copy
import json
import math
import pathlib
import time

import numpy
import torch
from PIL import Image
from torch.nn import functional
from transformers import AutoConfig, Dinov2Model

from pretrain import make_model

PENALTIES = [1e-4, 1e-3, 1e-2, 1e-1]
EPOCHS, BATCH, RANK, ALPHA = 30, 32, 16, 16
ADAPTER_RATE, HEAD_RATE, WARMUP, CLIP = 5e-4, 1e-3, 0.05, 1.0


# Data


def read_part(folder):
    """(images, labels): grey PIL images in the order of an ImageFolder."""
    images, labels = [], []
    for label, name in enumerate(sorted(path.name for path in folder.iterdir() if path.is_dir())):
        for path in sorted((folder / name).iterdir()):
            images.append(Image.open(path).convert("RGB"))
            labels.append(label)
    return images, torch.tensor(labels)


class Preprocessor:
    def __init__(self, folder):
        config = json.loads((folder / "preprocessor_config.json").read_text())
        self.edge, self.side = config["size"]["shortest_edge"], config["crop_size"]["height"]
        self.mean = torch.tensor(config["image_mean"]).view(3, 1, 1)
        self.std = torch.tensor(config["image_std"]).view(3, 1, 1)

    def tensor(self, image):
        pixels = torch.from_numpy(numpy.asarray(image).copy()).permute(2, 0, 1).float() / 255
        return (pixels - self.mean) / self.std

    def evaluation(self, image):
        image = image.resize((self.edge, self.edge), Image.Resampling.BICUBIC)
        offset = (self.edge - self.side) // 2
        return self.tensor(image.crop((offset, offset, offset + self.side, offset + self.side)))

    def training(self, image, generator):
        """A random resized crop of 35 to 100 % of the area, flipped in half of the cases."""
        width, height = image.size
        for _ in range(10):
            area = width * height * uniform(generator, 0.35, 1.0)
            aspect = math.exp(uniform(generator, math.log(3 / 4), math.log(4 / 3)))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                break
        else:
            w, h = width, height
        x = int(torch.randint(width - w + 1, (), generator=generator))
        y = int(torch.randint(height - h + 1, (), generator=generator))
        image = image.resize((self.side, self.side), Image.Resampling.BICUBIC, box=(x, y, x + w, y + h))
        if uniform(generator, 0.0, 1.0) < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return self.tensor(image)


def uniform(generator, low, high):
    return low + (high - low) * float(torch.rand((), generator=generator))


# Logistic regression


def fit(features, labels, penalty):
    classes = int(labels.max()) + 1
    weight = torch.zeros(features.shape[1], classes, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = functional.cross_entropy(features @ weight + bias, labels) + penalty * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return lambda x: (x @ weight + bias).detach()


def accuracy(logits, labels):
    return 100 * (logits.argmax(dim=1) == labels).double().mean().item()


def regression(train, val):
    """Accuracy on `val` of logistic regression on `train`; both are (features, labels)."""
    (x, y), (x_val, y_val) = train, val
    centre = x.double().mean(dim=0)
    scale = 10 / (x.double() - centre).square().sum(dim=1).mean().sqrt()
    x, x_val = (x.double() - centre) * scale, (x_val.double() - centre) * scale
    if x.shape[1] > len(x):  # the fit lies in the span of the training images, whose basis is smaller
        basis = torch.linalg.svd(x, full_matrices=False)[2].T
        x, x_val = x @ basis, x_val @ basis
    fold = torch.arange(len(y)) % 5

    def score(penalty):
        held = [accuracy(fit(x[fold != f], y[fold != f], penalty)(x[fold == f]), y[fold == f]) for f in range(5)]
        return sum(held)

    return accuracy(fit(x, y, max(PENALTIES, key=score))(x_val), y_val)


# Encoders


def features(model, pixels):
    tokens = model(pixel_values=pixels).last_hidden_state
    return torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1)


def all_features(model, pixels):
    with torch.no_grad():
        return torch.cat([features(model, part) for part in pixels.split(250)])


class Adapted(torch.nn.Module):
    """A frozen query, key or value product plus its rows of a fused adapter; the three share A."""

    def __init__(self, linear, a, b):
        super().__init__()
        self.linear, self.a, self.b = linear, a, b

    def forward(self, x):
        return self.linear(x) + functional.linear(functional.linear(x, self.a), self.b) * (ALPHA / RANK)


def add_adapters(model, generator):
    """LoRA on the fused query, key, value of each layer; returns the trained tensors."""
    trained = []
    for layer in model.encoder.layer:
        names = [n for n, m in layer.named_modules() if n.split(".")[-1] in ("q_proj", "k_proj", "v_proj", "query", "key", "value")]
        width = layer.get_submodule(names[0]).in_features
        bound = width**-0.5
        a = torch.nn.Parameter((2 * torch.rand(RANK, width, generator=generator) - 1) * bound)
        trained.append(a)
        for name in names:
            b = torch.nn.Parameter(torch.zeros(layer.get_submodule(name).out_features, RANK))
            trained.append(b)
            parent, _, leaf = name.rpartition(".")
            setattr(layer.get_submodule(parent), leaf, Adapted(layer.get_submodule(name), a, b))
    return trained


def adapt(model, preprocessor, train, val, lora, seed):
    """Accuracy after EPOCHS epochs of training the head, and with `lora` the adapters too."""
    generator = torch.Generator().manual_seed(seed)
    model = copy.deepcopy(model).requires_grad_(False)
    head = torch.nn.Linear(2 * model.config.hidden_size, int(train[1].max()) + 1)
    torch.nn.init.normal_(head.weight, std=0.01, generator=generator)
    torch.nn.init.zeros_(head.bias)
    groups = [{"params": list(head.parameters()), "peak": HEAD_RATE}]
    if lora:
        groups.append({"params": add_adapters(model, generator), "peak": ADAPTER_RATE})
    optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=0.0)
    trained = [p for group in groups for p in group["params"]]
    images, labels = train
    per_epoch = math.ceil(len(images) / BATCH)
    steps, step = EPOCHS * per_epoch, 0
    warmup = max(1, round(WARMUP * steps))
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images), generator=generator).split(BATCH):
            rate = (step + 1) / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * rate
            pixels = torch.stack([preprocessor.training(images[i], generator) for i in chosen])
            loss = functional.cross_entropy(head(features(model, pixels)), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, CLIP)
            optimizer.step()
            step += 1
    return accuracy(head(all_features(model, val[0])).detach(), val[1])


# The table


def untrained(folder, seed, recipe):
    """An encoder of the same shape with transformers' initial weights, or those that the recipe starts from."""
    torch.manual_seed(seed)
    config = AutoConfig.from_pretrained(folder)
    if recipe:
        return make_model(config.hidden_size, config.num_hidden_layers).eval()
    return Dinov2Model(config).eval()


def mean_and_spread(values):
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1))
    return f"{mean:.1f} +- {spread:.1f}"


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=here.parent / "fashion_mnist")
    parser.add_argument("--teacher", type=pathlib.Path, default=here / "teacher")
    parser.add_argument("--student", type=pathlib.Path, default=here / "student")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=["probes"], help="leave out the training with the program's recipe")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    start, failures = time.process_time(), []

    def require(condition, what):
        if not condition:
            failures.append(what)

    parts = {part: read_part(options.data / part) for part in ("train", "val")}
    greys = {
        part: (torch.stack([torch.from_numpy(numpy.asarray(i.convert("L")).copy()).flatten() / 255.0 for i in images]), labels)
        for part, (images, labels) in parts.items()
    }
    pixels = regression(greys["train"], greys["val"])
    print(f"{len(parts['train'][0])} training images, {len(parts['val'][0])} validation images")
    print(f"pixels: logistic regression {pixels:.1f}", flush=True)

    for name, folder in (("teacher", options.teacher), ("student", options.student)):
        preprocessor = Preprocessor(folder)
        tensors = {p: (torch.stack([preprocessor.evaluation(i) for i in images]), y) for p, (images, y) in parts.items()}

        def probe(model):
            return regression(*[(all_features(model, x), y) for x, y in (tensors["train"], tensors["val"])])

        model = Dinov2Model.from_pretrained(folder, dtype=torch.float32).eval()
        trained = probe(model)
        initial = [[probe(untrained(folder, seed, recipe)) for seed in range(options.seeds)] for recipe in (False, True)]
        print(f"{name}: logistic regression on features {trained:.1f}")
        print(f"{name}: the same, untrained: {mean_and_spread(initial[0])}; as the recipe starts: {mean_and_spread(initial[1])}")
        require(trained >= pixels + 3, f"{name}: probe beats pixels by 3 points")
        require(trained >= max(sum(i) / len(i) for i in initial) + 10, f"{name}: probe beats the untrained encoder by 10 points")
        if options.only == "probes":
            continue
        results = {}
        for method, lora in (("probe", False), ("lora", True)):
            results[method] = [
                adapt(model, preprocessor, parts["train"], tensors["val"], lora, seed) for seed in range(options.seeds)
            ]
            print(f"{name}: {method}, {EPOCHS} epochs: {mean_and_spread(results[method])}", flush=True)
        require(sum(results["lora"]) > sum(results["probe"]), f"{name}: LoRA beats the probe")
        require(sum(results["lora"]) > options.seeds * trained, f"{name}: LoRA beats logistic regression on features")
    print(f"processor time {time.process_time() - start:.0f} s")
    for failure in failures:
        print(f"does not hold: {failure}")
    raise SystemExit(1 if failures else 0)


if __name__ == "__main__":
    main()
