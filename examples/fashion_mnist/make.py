#!/usr/bin/env python3
"""Write the bundled few-shot Fashion-MNIST folders from Debian's package dataset-fashion-mnist.

    python3 make.py [--source DIR] [--out DIR]

For each of the 10 classes the first 50 images of the package's train file go to OUT/train/CLASS and the first 100 of its
t10k file to OUT/val/CLASS, as 28x28 grey PNG files named by their index in that file. There is no randomness, so the same
package gives the same pixels. Needs Pillow; the folders are in the repository, so the demo itself needs no Python.
"""
import argparse
import gzip
import pathlib
import struct

from PIL import Image

CLASSES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot"]
SIDE = 28
PARTS = {"train": ("train", 50), "val": ("t10k", 100)}


def read_images(path):
    """Images of an IDX3 file as a list of bytes objects of SIDE * SIDE grey values."""
    data = gzip.decompress(path.read_bytes())
    magic, count, rows, columns = struct.unpack(">IIII", data[:16])
    if magic != 0x803 or (rows, columns) != (SIDE, SIDE) or len(data) != 16 + count * SIDE * SIDE:
        raise SystemExit(f"{path}: not an IDX file of {SIDE}x{SIDE} images")
    return [data[16 + i * SIDE * SIDE : 16 + (i + 1) * SIDE * SIDE] for i in range(count)]


def read_labels(path):
    data = gzip.decompress(path.read_bytes())
    magic, count = struct.unpack(">II", data[:8])
    if magic != 0x801 or len(data) != 8 + count:
        raise SystemExit(f"{path}: not an IDX file of labels")
    return data[8:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=pathlib.Path, default=pathlib.Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent)
    options = parser.parse_args()

    for part, (stem, per_class) in PARTS.items():
        images = read_images(options.source / f"{stem}-images-idx3-ubyte.gz")
        labels = read_labels(options.source / f"{stem}-labels-idx1-ubyte.gz")
        size = 0
        for label, name in enumerate(CLASSES):
            folder = options.out / part / name
            folder.mkdir(parents=True, exist_ok=True)
            chosen = [i for i in range(len(labels)) if labels[i] == label][:per_class]
            for index in chosen:
                path = folder / f"{index:05d}.png"
                Image.frombytes("L", (SIDE, SIDE), images[index]).save(path, optimize=True)
                size += path.stat().st_size
        print(f"{part}: {len(CLASSES)} classes x {per_class} images, {size} bytes")


if __name__ == "__main__":
    main()
