"""Joint training of two tiny encoders by PyTorch in double precision, for tests/test_joint_step.c and test_trajectory.c.

Run: python3 tests/oracle/make_joint.py (needs torch, transformers, safetensors; about a minute).
Writes tests/fixtures/joint.safetensors. For each method: losses [STEPS, 4] (sum, student, teacher, KL with tau^2; NaN where
there is none), norms [STEPS] before clipping, rates [STEPS], gradient.NAME of step 0, and final.NAME. Names are those of
state.safetensors. Weights, images, labels and initial values come from formula.py.
"""

import math
import os

import numpy as np
import torch
import torch.nn.functional as F
from formula import encoder, labels, tensor
from safetensors.torch import save_file

TEACHER = dict(width=128, layers=4, heads=2)
STUDENT = dict(width=64, layers=3, heads=1)
PATCH, GRID, SIZE = 14, 5, 56
RANK, ALPHA, CLASSES, TAU = 5, 8.0, 7, 2.0
IMAGES, BATCH, STEPS, WARMUP = 22, 8, 24, 0.1
LR, HEAD_LR, DECAY, CLIP = 5e-3, 1e-2, 0.05, 4.0
METHODS = ["slad", "joint", "lora", "probe"]


def parameter(name, shape, scale):
    return torch.from_numpy(tensor("init." + name, shape, scale)).double().requires_grad_(True)


class Adapted:
    """An encoder whose q, k, v layers are W + s B A, A [r, d], B [3 d, r] given by a function of the layer."""

    def __init__(self, spec, prefix, adapter):
        self.spec = spec
        self.model = encoder(prefix, spec["width"], spec["layers"], spec["heads"], 4, PATCH, GRID, torch.float64)
        self.model.requires_grad_(False)
        if adapter is None:
            return
        for i, layer in enumerate(self.model.encoder.layer):
            for c, part in enumerate((layer.attention.q_proj, layer.attention.k_proj, layer.attention.v_proj)):
                part.forward = self.linear(part, adapter, i, c)

    def linear(self, part, adapter, i, c):
        d = self.spec["width"]

        def forward(x):
            a, b = adapter(i)
            return F.linear(x, part.weight + ALPHA / RANK * b[c * d:(c + 1) * d] @ a, part.bias)

        return forward

    def logits(self, pixels, weight, bias):
        hidden = self.model(pixels).last_hidden_state
        return F.linear(torch.cat([hidden[:, 0], hidden[:, 1:].mean(1)], 1), weight, bias)


def make_parameters(method):
    joint = method in ("slad", "joint")
    out = {}

    def adapters(model, spec):
        for i in range(spec["layers"]):
            out[f"{model}.layers.{i}.qkv.lora_A"] = parameter(f"{model}.layers.{i}.qkv.lora_A", (RANK, spec["width"]), 0.1)
            out[f"{model}.layers.{i}.qkv.lora_B"] = parameter(f"{model}.layers.{i}.qkv.lora_B", (3 * spec["width"], RANK), 0.1)

    if joint:
        adapters("teacher", TEACHER)
    if method in ("joint", "lora"):
        adapters("student", STUDENT)
    for model, spec in ([("teacher", TEACHER)] if joint else []) + [("student", STUDENT)]:
        out[f"{model}.head.weight"] = parameter(f"{model}.head.weight", (CLASSES, 2 * spec["width"]), 0.1)
        out[f"{model}.head.bias"] = parameter(f"{model}.head.bias", (CLASSES,), 0.1)
    return out


def student_view(parameters, i):
    """The shared part: leading columns of A, leading rows of each block of B, layer map even-a."""
    j = i * TEACHER["layers"] // STUDENT["layers"]
    a, b = parameters[f"teacher.layers.{j}.qkv.lora_A"], parameters[f"teacher.layers.{j}.qkv.lora_B"]
    d, wide = STUDENT["width"], TEACHER["width"]
    return a[:, :d], torch.cat([b[c * wide:c * wide + d] for c in range(3)])


def own(parameters, model):
    return lambda i: (parameters[f"{model}.layers.{i}.qkv.lora_A"], parameters[f"{model}.layers.{i}.qkv.lora_B"])


def rate(step):
    rising = math.ceil(WARMUP * STEPS - 1e-9)
    if step < rising:
        return step / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, STEPS - rising)))


def run(method, out):
    parameters = make_parameters(method)
    teacher = Adapted(TEACHER, "teacher.", own(parameters, "teacher")) if method in ("slad", "joint") else None
    adapter = {"slad": lambda i: student_view(parameters, i), "probe": None}.get(method, own(parameters, "student"))
    student = Adapted(STUDENT, "student.", adapter)
    pixels = torch.from_numpy(tensor("joint.pixels", (IMAGES, 3, SIZE, SIZE), 2.0)).double()
    target = torch.from_numpy(labels("joint.labels", IMAGES, CLASSES))

    def group(decayed, head):
        return [p for n, p in parameters.items() if n.endswith("bias") != decayed and (".head." in n) == head]

    groups = [dict(params=group(d, h), lr=HEAD_LR if h else LR, weight_decay=DECAY if d else 0.0)
              for h in (False, True) for d in (True, False) if group(d, h)]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8)
    base = [g["lr"] for g in groups]
    losses, norms, rates = [], [], []
    batches = [slice(i, min(i + BATCH, IMAGES)) for i in range(0, IMAGES, BATCH)]
    for step in range(STEPS):
        rows = batches[step % len(batches)]
        z_s = student.logits(pixels[rows], parameters["student.head.weight"], parameters["student.head.bias"])
        loss_s, loss_t, loss_kl = F.cross_entropy(z_s, target[rows]), torch.tensor(math.nan), torch.tensor(math.nan)
        loss = loss_s
        if teacher:
            z_t = teacher.logits(pixels[rows], parameters["teacher.head.weight"], parameters["teacher.head.bias"])
            loss_t = F.cross_entropy(z_t, target[rows])
            p, q = F.log_softmax(z_t.detach() / TAU, 1), F.log_softmax(z_s / TAU, 1)
            loss_kl = TAU * TAU * F.kl_div(q, p, reduction="batchmean", log_target=True)
            loss = loss_s + loss_t + loss_kl
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            for name, value in parameters.items():
                out[f"{method}.gradient.{name}"] = value.grad.clone()
        norms.append(float(torch.nn.utils.clip_grad_norm_(list(parameters.values()), CLIP)))
        for g, lr in zip(optimizer.param_groups, base):
            g["lr"] = lr * rate(step)
        optimizer.step()
        losses.append([float(loss.detach()), float(loss_s.detach()), float(loss_t.detach()), float(loss_kl.detach())])
        rates.append(rate(step))
    for name, value in parameters.items():
        out[f"{method}.final.{name}"] = value.detach().clone()
    out[f"{method}.losses"] = torch.tensor(losses, dtype=torch.float64)
    out[f"{method}.norms"] = torch.tensor(norms, dtype=torch.float64)
    out[f"{method}.rates"] = torch.tensor(rates, dtype=torch.float64)
    print(method, "loss", losses[0][0], "->", losses[-1][0], "clipped", int(np.sum(np.array(norms) > CLIP)), "of", STEPS)


def main():
    out = {}
    for method in METHODS:
        run(method, out)
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures")
    save_file({k: v.float().contiguous() for k, v in out.items()}, os.path.join(folder, "joint.safetensors"))


if __name__ == "__main__":
    main()
