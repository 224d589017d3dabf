"""Colour distortions and blur by torchvision on Pillow images, for tests/test_colour.c.

Run: python3 tests/oracle/make_colour.py (needs numpy, Pillow, torch, torchvision). Writes to tests/fixtures/preprocess:
colour.txt: name seed height width factor hash, where seed -1 is a cube of 64 x 64 x 64 colours;
blur.txt: seed height width sigma, and the bytes of the result.
"""

import os

import numpy as np
import torchvision.transforms.functional as F
from counter_image import counter_image, fnv
from PIL import Image


def cube():
    index = np.arange(64**3, dtype=np.uint32)
    low = np.stack([index * np.uint32(factor) >> np.uint32(24) & np.uint32(3) for factor in (2654435761, 40503, 97)], 1)
    high = np.stack([(index >> np.uint32(shift) & np.uint32(63)) << np.uint32(2) for shift in (0, 6, 12)], 1)
    return (high | low).astype(np.uint8).reshape(512, 512, 3)


def picture(seed, height, width):
    return Image.fromarray(cube() if seed < 0 else counter_image(seed, height, width))


def grey(image, _):
    return F.to_grayscale(image, 3)


def main():
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "preprocess")
    sizes = ((-1, 512, 512), (0, 13, 17), (1, 9, 4), (2, 1, 1), (4, 40, 31))
    factors = (0.0, 0.6, 0.8123, 1.0, 1.1717, 1.4)
    with open(os.path.join(folder, "colour.txt"), "w") as out:
        for name, adjust, values in (("brightness", F.adjust_brightness, factors), ("contrast", F.adjust_contrast, factors),
                                     ("saturation", F.adjust_saturation, factors),
                                     ("hue", F.adjust_hue, (-0.5, -0.1, -0.0777, -0.002, 0.0, 0.003, 0.05, 0.1, 0.5)),
                                     ("grey", grey, (0.0,))):
            for size in sizes:
                for value in values:
                    result = np.asarray(adjust(picture(*size), value))
                    out.write(f"{name} {size[0]} {size[1]} {size[2]} {value!r} {fnv(result.tobytes()):016x}\n")
    with open(os.path.join(folder, "blur.txt"), "w") as out:
        for size in ((0, 13, 17), (1, 9, 11), (2, 5, 8), (3, 6, 5)):
            for sigma in (0.1, 0.5, 1.0, 1.37, 2.0):
                result = np.asarray(F.gaussian_blur(picture(*size), [9, 9], [sigma, sigma]))
                out.write(f"{size[0]} {size[1]} {size[2]} {sigma!r} {result.tobytes().hex()}\n")


if __name__ == "__main__":
    main()
