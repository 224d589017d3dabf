"""Minibatch CKA in double precision, for tests/test_cka.c.

Run: python3 tests/oracle/make_cka.py (needs torch, safetensors).
Writes tests/fixtures/cka.safetensors: for each case n.p.q.batches the CKA of features "cka.x" [batches, n, p] and
"cka.y" [batches, n, q] of the formula, where y is made partly of x. HSIC_1 is computed as the inner product of
U-centred Gram matrices (Szekely and Rizzo 2014), which is another form of what host/train/cka.c computes.
"""

import os

import torch
from formula import tensor
from safetensors.torch import save_file

CASES = [(4, 3, 5, 1), (5, 1, 1, 3), (16, 7, 3, 2), (33, 65, 40, 2), (64, 48, 96, 1)]


def u_centred(x):
    n = x.shape[0]
    k = (x @ x.T).fill_diagonal_(0)
    rows = k.sum(1) / (n - 2)
    centred = k - rows[:, None] - rows[None, :] + k.sum() / ((n - 1) * (n - 2))
    return centred.fill_diagonal_(0)


def hsic(x, y):
    n = x.shape[0]
    return (u_centred(x) * u_centred(y)).sum() / (n * (n - 3))


def cka(x, y):
    def mean(left, right):
        return torch.stack([hsic(a, b) for a, b in zip(left, right)]).mean()

    return mean(x, y) / torch.sqrt(mean(x, x) * mean(y, y))


def main():
    out = {}
    for n, p, q, batches in CASES:
        x = torch.from_numpy(tensor("cka.x", (batches, n, p), 1.0, 0.5))
        y = torch.from_numpy(tensor("cka.y", (batches, n, q), 1.0))
        shared = min(p, q)
        y[:, :, :shared] += x[:, :, :shared]
        value = cka(x.double(), y.double())
        out[f"{n}.{p}.{q}.{batches}"] = value.float().reshape(1)
        print(n, p, q, batches, float(value))
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures")
    save_file(out, os.path.join(folder, "cka.safetensors"))


if __name__ == "__main__":
    main()
