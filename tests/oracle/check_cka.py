"""CKA as slad eval tells it, against PyTorch on the features that slad features writes.

Run (needs torch, safetensors; the run must be of a method with a teacher):
    slad eval RUN --data D --json > eval.json
    slad features RUN --data D --out student.safetensors
    slad features RUN --data D --out teacher.safetensors --model teacher
    python3 tests/oracle/check_cka.py eval.json student.safetensors teacher.safetensors
For the values before training, features of the two folders that it started from, and a fourth argument "pretrained".
"""

import json
import sys

from make_cka import cka
from safetensors.torch import load_file

BOUND = 1e-6


def main():
    measured = json.load(open(sys.argv[1]))["cka"]
    output = (measured[sys.argv[4]] if len(sys.argv) > 4 else measured)["output"]
    student, teacher = load_file(sys.argv[2]), load_file(sys.argv[3])
    batch, batches = measured["batch"], measured["images"] // measured["batch"]
    worst = 0.0
    for name in ("cls", "mean"):
        parts = [f[name][: batch * batches].double().reshape(batches, batch, -1) for f in (teacher, student)]
        expected = float(cka(*parts))
        worst = max(worst, abs(expected - output[name]))
        print(f"{name}: slad {output[name]:.9f}, PyTorch {expected:.9f}")
    print("largest difference", worst)
    sys.exit(worst > BOUND)


if __name__ == "__main__":
    main()
