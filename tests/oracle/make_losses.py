"""The loss options on the tiny pair of make_joint.py, by PyTorch in double precision, for tests/test_loss_options.c.

Run: python3 tests/oracle/make_losses.py (needs torch, transformers, safetensors; about a minute).
Writes tests/fixtures/losses.safetensors. For each case, trained with method slad: CASE.losses [STEPS, 4] (what is
minimised, student, teacher, KL) and CASE.gradient.NAME of step 0 for the tensors of GRADIENTS. Adapters of layer 0 are
shared, the teacher's layer 3 is its own: the KL reaches it only where the teacher is not detached.
"""

import os

import torch
import torch.nn.functional as F
from formula import labels, tensor
from make_joint import (BATCH, CLASSES, CLIP, DECAY, HEAD_LR, IMAGES, LR, SIZE, STUDENT, TAU, TEACHER, Adapted,
                        make_parameters, own, rate, student_view)
from safetensors.torch import save_file

STEPS = 10
GRADIENTS = ["student.head.weight", "student.head.bias", "teacher.head.bias", "teacher.layers.0.qkv.lora_A",
             "teacher.layers.3.qkv.lora_A"]
# As tests/test_loss_options.c names and sets them. alphas: student, teacher, KL.
CASES = {
    "reverse": dict(direction="reverse"),
    "symmetric": dict(direction="symmetric"),
    "attached": dict(detach=False),
    "attached_reverse": dict(direction="reverse", detach=False),
    "attached_symmetric": dict(direction="symmetric", detach=False),
    "without_tau2": dict(tau2=False),
    "smoothing": dict(smoothing=0.1),
    "mixed": dict(smoothing=0.1, share=0.7),
    "convex": dict(alphas=(1 - 0.3, 0.5, 0.3)),
    "all": dict(direction="symmetric", detach=False, tau2=False, smoothing=0.2, alphas=(1 - 0.6, 1.5, 0.6)),
}


def divergence(z_s, z_t, direction, detach, tau2):
    log_q, log_p = F.log_softmax(z_s / TAU, 1), F.log_softmax((z_t.detach() if detach else z_t) / TAU, 1)
    forward = F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    reverse = F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)
    value = {"forward": forward, "reverse": reverse, "symmetric": (forward + reverse) / 2}[direction]
    return TAU * TAU * value if tau2 else value


def mixed_cross_entropy(z, target, share, smoothing):
    """As of mixup, where the second label of an image is that of the batch in reverse; the pixels are left alone."""
    first = F.cross_entropy(z, target, label_smoothing=smoothing)
    return first if share == 1 else share * first + (1 - share) * F.cross_entropy(z, target.flip(0),
                                                                                  label_smoothing=smoothing)


def make_optimizer(parameters):
    def group(decayed, head):
        return [p for n, p in parameters.items() if n.endswith("bias") != decayed and (".head." in n) == head]

    groups = [dict(params=group(d, h), lr=HEAD_LR if h else LR, weight_decay=DECAY if d else 0.0)
              for h in (False, True) for d in (True, False) if group(d, h)]
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8)


def run(case, out, direction="forward", detach=True, tau2=True, smoothing=0.0, share=1.0, alphas=(1, 1, 1)):
    parameters = make_parameters("slad")
    teacher = Adapted(TEACHER, "teacher.", own(parameters, "teacher"))
    student = Adapted(STUDENT, "student.", lambda i: student_view(parameters, i))
    pixels = torch.from_numpy(tensor("joint.pixels", (IMAGES, 3, SIZE, SIZE), 2.0)).double()
    target = torch.from_numpy(labels("joint.labels", IMAGES, CLASSES))
    optimizer = make_optimizer(parameters)
    base = [g["lr"] for g in optimizer.param_groups]
    batches = [slice(i, min(i + BATCH, IMAGES)) for i in range(0, IMAGES, BATCH)]
    losses = []
    for step in range(STEPS):
        rows = batches[step % len(batches)]
        z_s = student.logits(pixels[rows], parameters["student.head.weight"], parameters["student.head.bias"])
        z_t = teacher.logits(pixels[rows], parameters["teacher.head.weight"], parameters["teacher.head.bias"])
        terms = (mixed_cross_entropy(z_s, target[rows], share, smoothing),
                 mixed_cross_entropy(z_t, target[rows], share, smoothing),
                 divergence(z_s, z_t, direction, detach, tau2))
        loss = sum(alpha * term for alpha, term in zip(alphas, terms))
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            for name in GRADIENTS:
                out[f"{case}.gradient.{name}"] = parameters[name].grad.clone()
        torch.nn.utils.clip_grad_norm_(list(parameters.values()), CLIP)
        for g, lr in zip(optimizer.param_groups, base):
            g["lr"] = lr * rate(step)
        optimizer.step()
        losses.append([float(value.detach()) for value in (loss, *terms)])
    out[f"{case}.losses"] = torch.tensor(losses, dtype=torch.float64)
    print(case, "loss", losses[0][0], "->", losses[-1][0], "KL", losses[0][3], "->", losses[-1][3])


def main():
    out = {}
    for case, options in CASES.items():
        run(case, out, **options)
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures")
    save_file({k: v.float().contiguous() for k, v in out.items()}, os.path.join(folder, "losses.safetensors"))


if __name__ == "__main__":
    main()
