"""Writes fixtures/operations/*.safetensors: what PyTorch computes, in double, for single operations and their gradients.

Run as `python3 tests/oracle/make_operations.py` with torch (1.13 or newer) and numpy. tests/test_operation_fixtures.c makes
the same inputs and compares both executors with these files, so no input is stored. Input `stream`, element `index`
(row-major), both unsigned 32-bit with wrap-around:

    h = index * 2654435761 + stream * 2246822519 + 374761393
    h ^= h >> 16;  h *= 73244475;  h ^= h >> 16
    uniform = (h >> 8) / 2^23 - 1                      (24 bits, exact in float32, in [-1, 1))
    value = scale * uniform + shift                    (rounded to float32 after each operation)
"""

import json
import pathlib
import struct

import numpy as np
import torch
import torch.nn.functional as F

from dropout_masks import factors

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "operations"


def counter(stream, shape, scale=1.0, shift=0.0):
    """The input of the formula above, as a double tensor of float32 values."""
    index = np.arange(int(np.prod(shape)), dtype=np.uint32)
    h = index * np.uint32(2654435761) + np.uint32((stream * 2246822519 + 374761393) & 0xFFFFFFFF)
    h ^= h >> np.uint32(16)
    h = h * np.uint32(73244475)
    h ^= h >> np.uint32(16)
    uniform = (h >> np.uint32(8)).astype(np.float32) / np.float32(2**23) - np.float32(1)
    value = np.float32(scale) * uniform + np.float32(shift)
    return torch.from_numpy(value.astype(np.float64)).reshape(shape)


def write(name, tensors):
    """A safetensors file of float32 tensors."""
    header, data = {}, b""
    for key in sorted(tensors):
        values = tensors[key].detach().numpy().astype("<f4")
        header[key] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [len(data), len(data) + values.nbytes]}
        data += values.tobytes()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def layer_norm():
    x = counter(1, (2, 5, 50), 2.0, 0.5).requires_grad_()
    gamma, beta = counter(2, (50,), 0.5, 1.0).requires_grad_(), counter(3, (50,)).requires_grad_()
    y = F.layer_norm(x, (50,), gamma, beta, 1e-6)
    y.backward(counter(4, (2, 5, 50)))
    write("layer_norm", {"y": y, "dx": x.grad, "dgamma": gamma.grad, "dbeta": beta.grad})


def layer_scale():
    """Two layers of one residual stream: with LayerScale, and without."""
    x, z = counter(60, (2, 17, 23)).requires_grad_(), counter(61, (2, 17, 23)).requires_grad_()
    gamma = counter(62, (23,), 0.5, 0.3).requires_grad_()
    y = x + gamma * z
    total = y + z
    total.backward(counter(63, (2, 17, 23)))
    write("layer_scale", {"total": total, "dx": x.grad, "dz": z.grad, "dgamma": gamma.grad})


def gelu():
    u = counter(5, (7, 91), 6.0).requires_grad_()
    v = F.gelu(u)
    v.backward(counter(6, (7, 91)))
    write("gelu", {"v": v, "du": u.grad})


def swiglu():
    x = counter(64, (7, 2 * 45), 6.0).requires_grad_()
    v = F.silu(x[:, :45]) * x[:, 45:]
    v.backward(counter(65, (7, 45)))
    write("swiglu", {"v": v, "dx": x.grad})


def attention():
    batch, tokens, heads, head_dim = 2, 17, 2, 64
    qkv = counter(7, (batch, tokens, 3 * heads * head_dim), 2.0).requires_grad_()
    q, k, v = qkv.reshape(batch, tokens, 3, heads, head_dim).permute(2, 0, 3, 1, 4)
    o = torch.softmax(q @ k.transpose(-2, -1) / head_dim**0.5, -1) @ v
    o = o.transpose(1, 2).reshape(batch, tokens, heads * head_dim)
    o.backward(counter(8, (batch, tokens, heads * head_dim)))
    write("attention", {"o": o, "dqkv": qkv.grad})


def patch_embedding():
    pixels, weight = counter(9, (2, 3, 28, 42), 2.0), counter(10, (20, 3, 14, 14), 0.1)
    patches = F.conv2d(pixels, weight, counter(11, (20,)), stride=14).flatten(2).transpose(1, 2)
    class_token = counter(12, (20,)).expand(2, 1, 20)
    write("patch_embedding", {"tokens": torch.cat((class_token, patches), 1) + counter(13, (7, 20))})


def patch_embedding_trained():
    """Registers behind the class token, and the gradients of all that can be trained."""
    pixels, weight = counter(66, (2, 3, 12, 20), 2.0), counter(67, (22, 3, 4, 4), 0.1).requires_grad_()
    bias, class_token = counter(68, (22,)).requires_grad_(), counter(69, (22,)).requires_grad_()
    registers, position = counter(70, (4, 22)).requires_grad_(), counter(71, (16, 22)).requires_grad_()
    patches = F.conv2d(pixels, weight, bias, stride=4).flatten(2).transpose(1, 2)
    tokens = torch.cat((class_token.expand(2, 1, 22), patches), 1) + position
    tokens = torch.cat((tokens[:, :1], registers.expand(2, 4, 22), tokens[:, 1:]), 1)
    tokens.backward(counter(72, (2, 20, 22)))
    write("patch_embedding_trained", {
        "tokens": tokens, "dweight": weight.grad, "dbias": bias.grad, "dclass_token": class_token.grad,
        "dregisters": registers.grad, "dposition": position.grad})


def pool():
    tokens = counter(14, (3, 11, 19)).requires_grad_()
    pooled = torch.cat((tokens[:, 0], tokens[:, 5:].mean(1)), 1)
    pooled.backward(counter(15, (3, 38)))
    write("pool", {"pooled": pooled, "dtokens": tokens.grad})


def distillation():
    """Padding (both weights 0), an unlabelled image (task weight 0), an image without a teacher's opinion (KL weight 0)."""
    labels = torch.tensor([9, 1, 3, 7, 2, 6])
    task, kl = torch.tensor([1, 0, 1, 1, 0, 0.5]).double(), torch.tensor([1, 1, 0, 1, 0, 0.25]).double()
    alphas = {1: (1.0, 1.0, 1.0), 2: (0.7, 1.3, 0.4), 4: (1.0, 0.0, 2.0)}
    for tau, (alpha_student, alpha_teacher, alpha_kl) in alphas.items():
        student = counter(16, (6, 11), 4.0).requires_grad_()
        teacher = counter(17, (6, 11), 6.0).requires_grad_()
        ce = [F.cross_entropy(z, labels, reduction="none") * task / task.sum() for z in (student, teacher)]
        divergence = F.kl_div(F.log_softmax(student / tau, 1), F.softmax(teacher.detach() / tau, 1), reduction="none")
        divergence = tau**2 * divergence.sum(1) * kl / kl.sum()
        (alpha_student * ce[0].sum() + alpha_teacher * ce[1].sum() + alpha_kl * divergence.sum()).backward()
        right = [((z.argmax(1) == labels) * task / task.sum()).sum() for z in (student, teacher)]
        zero = torch.zeros(6).double()
        write(f"distillation_tau_{tau}", {
            "terms": torch.stack((ce[0], ce[1], divergence, zero), 1),
            "accumulators": torch.stack((ce[0].sum(), ce[1].sum(), divergence.sum(), *right, *zero[:3])),
            "dstudent_z": student.grad,
            "dteacher_z": teacher.grad,
        })


def distillation_mixed():
    """Targets of mixup and CutMix with label smoothing, as timm's mixup_target makes them; two equal labels, one whole
    image, an equal mixture, an unlabelled pair."""
    labels, second = torch.tensor([9, 1, 3, 7, 2, 6]), torch.tensor([2, 1, 5, 0, 10, 3])
    mix = torch.tensor([0.75, 0.3, 1.0, 0.0, 0.5, 0.125]).double()
    task, kl = torch.tensor([1, 1, 1, 1, 0.5, 0]).double(), torch.ones(6).double()
    smoothing, tau, alpha_kl, zero = 0.1, 2, 0.4, torch.zeros(6).double()
    on, off = 1 - smoothing + smoothing / 11, smoothing / 11
    hot = [torch.full((6, 11), off).double().scatter_(1, which[:, None], on) for which in (labels, second)]
    target = hot[0] * mix[:, None] + hot[1] * (1 - mix[:, None])
    student, teacher = counter(16, (6, 11), 4.0).requires_grad_(), counter(17, (6, 11), 6.0).requires_grad_()
    ce = [F.cross_entropy(z, target, reduction="none") * task / task.sum() for z in (student, teacher)]
    divergence = F.kl_div(F.log_softmax(student / tau, 1), F.softmax(teacher.detach() / tau, 1), reduction="none")
    divergence = tau**2 * divergence.sum(1) * kl / kl.sum()
    (0.7 * ce[0].sum() + 1.3 * ce[1].sum() + alpha_kl * divergence.sum()).backward()
    larger = torch.where(mix >= 0.5, labels, second)
    right = [((z.argmax(1) == larger) * task / task.sum()).sum() for z in (student, teacher)]
    write("distillation_mixed", {
        "terms": torch.stack((ce[0], ce[1], divergence, zero), 1),
        "accumulators": torch.stack((ce[0].sum(), ce[1].sum(), divergence.sum(), *right, *zero[:3])),
        "dstudent_z": student.grad,
        "dteacher_z": teacher.grad,
    })


def feature_loss():
    """CLS and three patches; the student has two registers between them, the teacher one; one image counts for nothing."""
    kl, alpha = torch.tensor([1, 0.5, 0]).double(), 1.5
    tokens = counter(60, (3, 6, 10)).requires_grad_()
    projection = counter(61, (23, 10), 0.5).requires_grad_()
    projected = tokens @ projection.T
    target = F.layer_norm(counter(62, (3, 5, 23), 2.0, 1.0), (23,), eps=1e-6)
    difference = torch.cat((projected[:, :1], projected[:, 3:]), 1) - torch.cat((target[:, :1], target[:, 2:]), 1)
    terms = (difference**2).mean((1, 2)) * kl / kl.sum()
    (alpha * terms.sum()).backward()
    zero = torch.zeros(1).double()
    write("feature_loss", {
        "accumulators": torch.cat((zero.expand(5), terms.sum()[None], zero.expand(2))),
        "dtokens": tokens.grad,
        "dprojection": projection.grad,
    })


def linear_adapters():
    """Split q, k, v of width 11: rank 4 each, views of wider tensors (a teacher's); a private pair of all rows beside them.
    Without and with dropout, where the private pair shares the mask of q. What the views leave out has no gradient."""
    images, tokens, channels, width, seed, step = 3, 7, 22, 11, 0x123456789ABCDEF0, 0x500000007
    for rate in (0.0, 0.3):
        x, weight, bias = counter(70, (images, tokens, channels)).requires_grad_(), counter(71, (33, channels), 0.2), counter(72, (33,))
        y = x @ weight.T + bias
        pairs = []
        for i, (rank, scale, stream) in enumerate(((4, 0.5, 9), (4, 1.5, 10), (4, 2.0, 11), (3, 0.75, 9))):
            rows = width if i < 3 else 3 * width
            a, b = counter(73 + 2 * i, (rank, channels + 3), 0.3), counter(74 + 2 * i, (rows + 2, rank), 0.3)
            pairs.append((a.requires_grad_(), b.requires_grad_()))
            mask = torch.from_numpy(factors(seed, step, stream, (5, 0, 1), tokens, channels, rate)) if rate else 1.0
            branch = scale * (x * mask @ a[:, :channels].T @ b[:rows].T)
            y = y + (F.pad(branch, (width * i, width * (2 - i))) if i < 3 else branch)
        y.backward(counter(81, (images, tokens, 33)))
        out = {"y": y, "dx": x.grad}
        for i, (a, b) in enumerate(pairs):
            out[f"dA{i}"], out[f"dB{i}"] = a.grad, b.grad
        write("linear_dropout" if rate else "linear_adapters", out)


def adamw():
    """Five steps of two groups; the gradients are clipped in some steps and not in others."""
    matrix, bias = counter(18, (5, 23)).requires_grad_(), counter(19, (13,)).requires_grad_()
    optimizer = torch.optim.AdamW([{"params": [matrix], "weight_decay": 0.1}, {"params": [bias], "weight_decay": 0.0}],
                                  betas=(0.9, 0.999), eps=1e-8)
    norms = []
    for step in range(5):
        scale = (1.0, 0.05, 0.3, 0.01, 2.0)[step]
        matrix.grad, bias.grad = counter(20 + step, (5, 23), scale), counter(30 + step, (13,), scale)
        optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"] = 0.01 * (step + 1), 0.02
        norms.append(torch.nn.utils.clip_grad_norm_([matrix, bias], 1.0).double())
        optimizer.step()
    out = {"norms": torch.stack(norms)}
    for name, tensor in (("matrix", matrix), ("bias", bias)):
        out[name] = tensor
        out[f"{name}.moment_1"] = optimizer.state[tensor]["exp_avg"]
        out[f"{name}.moment_2"] = optimizer.state[tensor]["exp_avg_sq"]
    write("adamw", out)


if __name__ == "__main__":
    for make in (layer_norm, layer_scale, gelu, swiglu, attention, patch_embedding, patch_embedding_trained, pool, distillation,
                 distillation_mixed, feature_loss, linear_adapters, adamw):
        make()
