"""Writes fixtures/resize_cases.txt: hashes of what Pillow's Image.resize gives for images of a counter formula.

A line: seed height width filter left top right bottom result_height result_width hash [bytes of a small result].
Needs Pillow 13 or newer (before, the order of the two passes was another one for tall images)."""

import os
import random

import numpy as np
import PIL
from PIL import Image

from counter_image import counter_image, fnv

FILTERS = range(6)  # nearest, lanczos, bilinear, bicubic, box, hamming
SIZES = [  # height, width, result height, result width
    (1, 1, 1, 1), (1, 1, 7, 5), (5, 7, 1, 1), (2, 3, 3, 2), (13, 17, 13, 17), (13, 17, 13, 5), (13, 17, 29, 17),
    (1, 300, 4, 90), (300, 1, 90, 4), (31, 64, 65, 33), (64, 31, 33, 65), (100, 80, 56, 45), (97, 101, 224, 224),
    (255, 257, 224, 225), (320, 240, 341, 256), (240, 320, 96, 128), (400, 90, 100, 64), (90, 400, 64, 100),
    (500, 210, 152, 64), (33, 32, 32, 31),
]


def add(lines: list, seed: int, height: int, width: int, result: tuple, kind: int, box: tuple) -> None:
    box = tuple(float(np.float32(value)) for value in box)
    image = Image.fromarray(counter_image(seed, height, width))
    data = image.resize((result[1], result[0]), kind, box=box).tobytes()
    fields = [seed, height, width, kind, *(f"{value:.9g}" for value in box), *result, f"{fnv(data):016x}"]
    if len(data) <= 48:
        fields.append(data.hex())
    lines.append(" ".join(str(field) for field in fields))


def main() -> None:
    assert int(PIL.__version__.split(".")[0]) >= 13, PIL.__version__
    random.seed(1)
    lines: list = []
    for index, (height, width, *result) in enumerate(SIZES):
        for kind in FILTERS:
            add(lines, index * 2 + kind % 2, height, width, tuple(result), kind, (0, 0, width, height))
    for index in range(60):
        height, width = random.randint(4, 90), random.randint(4, 90)
        left, top = random.random() * width / 2, random.random() * height / 2
        right, bottom = left + 1 + random.random() * (width - left - 1), top + 1 + random.random() * (height - top - 1)
        if index % 3 == 0:
            left, top, right, bottom = int(left), int(top), int(right), int(bottom)
        result = (random.randint(1, 90), random.randint(1, 90))
        add(lines, 100 + index, height, width, result, index % 6, (left, top, right, bottom))
    # Here Pillow's single-precision constants of the Hamming filter show.
    add(lines, 211, 128, 326, (178, 107), 5, (0, 0, 326, 128))
    add(lines, 339, 311, 341, (142, 190), 5, (0, 0, 341, 311))
    path = os.path.join(os.path.dirname(__file__), "..", "fixtures", "resize_cases.txt")
    with open(path, "w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
