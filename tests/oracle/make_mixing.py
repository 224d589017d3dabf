"""CutMix's boxes by timm, for tests/test_mixing.c.

Run: python3 tests/oracle/make_mixing.py (needs numpy and timm). Writes tests/fixtures/cutmix_cases.txt, a case a line:
height width share centre_y centre_x top left height width corrected_share.
"""

import os
import unittest.mock

import numpy as np
from timm.data.mixup import cutmix_bbox_and_lam


def main():
    random = np.random.RandomState(1)
    sizes = [(1, 1), (2, 3), (7, 7), (28, 42), (224, 224), (518, 224)]
    lines = []
    for height, width in sizes:
        for share in (0.0, 1e-9, 0.1, 0.25, 0.5, 0.75, 0.99, 1.0, *random.beta(1, 1, 4)):
            for y, x in ((0, 0), (height - 1, width - 1), (random.randint(height), random.randint(width))):
                with unittest.mock.patch("numpy.random.randint", side_effect=[y, x]):
                    (top, bottom, left, right), corrected = cutmix_bbox_and_lam((3, height, width), share)
                lines.append(f"{height} {width} {float(share)!r} {y} {x} {top} {left} {bottom - top} {right - left} "
                             f"{float(corrected)!r}\n")
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures")
    with open(os.path.join(folder, "cutmix_cases.txt"), "w") as out:
        out.writelines(lines)


if __name__ == "__main__":
    main()
