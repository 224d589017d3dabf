"""Writes small image files of every kind into fixtures/images, and images.txt with what they decode to.

A line of images.txt: file tolerance height width pixels (RGB, hexadecimal); the pixels are Pillow's
convert("RGB"), except that 16-bit grey keeps its high byte (Pillow clips it). A file of broken.txt must be refused, with
the given word in the message."""

import io
import os
import struct
import zlib

import numpy as np
from PIL import Image

from counter_image import counter_image

FOLDER = os.path.join(os.path.dirname(__file__), "..", "fixtures", "images")
HEIGHT, WIDTH = 11, 13


def png(width: int, height: int, depth: int, kind: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG from its filtered rows, for kinds that Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows, 9))
            + chunk(b"IEND", b""))


def deep_png(channels: int, kind: int) -> bytes:
    rng = np.random.RandomState(kind)
    values = rng.randint(0, 65536, (HEIGHT, WIDTH, channels)).astype(">u2")
    return png(WIDTH, HEIGHT, 16, kind, b"".join(b"\0" + row.tobytes() for row in values))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    if image.mode.startswith("I;16"):
        grey = (np.array(image) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.array(image.convert("RGB"))


def good_files() -> dict:
    rgb = Image.fromarray(counter_image(2, HEIGHT, WIDTH))
    smooth = rgb.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=(0, 0, 4, 4))
    alpha = Image.fromarray(counter_image(4, HEIGHT, WIDTH)[:, :, 0])
    with_alpha = rgb.copy()
    with_alpha.putalpha(alpha)
    grey_alpha = Image.merge("LA", (rgb.convert("L"), alpha))
    palette = rgb.quantize(7)
    files = {
        "rgb.png": (0, encoded(rgb, "PNG")),
        "grey.png": (0, encoded(rgb.convert("L"), "PNG")),
        "grey_alpha.png": (0, encoded(grey_alpha, "PNG")),
        "rgb_alpha.png": (0, encoded(with_alpha, "PNG")),
        "palette.png": (0, encoded(palette, "PNG")),
        "palette_alpha.png": (0, encoded(palette, "PNG", transparency=bytes([0, 128, 255]))),
        "one_bit.png": (0, encoded(rgb.convert("1"), "PNG")),
        "two_bits.png": (0, png(5, 2, 2, 0, b"\0\x1b\x40\0\xe4\x80")),
        "grey_key.png": (0, png(3, 1, 8, 0, b"\0\x00\x64\xc8", b"\0\0\0\x02tRNS\0\x64" + struct.pack(
            ">I", zlib.crc32(b"tRNS\0\x64")))),
        "grey_16.png": (0, deep_png(1, 0)),
        "grey_alpha_16.png": (0, deep_png(2, 4)),
        "rgb_16.png": (0, deep_png(3, 2)),
        "rgb_alpha_16.png": (0, deep_png(4, 6)),
        "one_pixel.png": (0, encoded(rgb.crop((0, 0, 1, 1)), "PNG")),
        "rgb.bmp": (0, encoded(rgb, "BMP")),
        "grey.bmp": (0, encoded(rgb.convert("L"), "BMP")),
        "palette.gif": (0, encoded(palette, "GIF")),
        "animated.gif": (0, encoded(palette, "GIF", save_all=True, append_images=[palette.rotate(180)], duration=50)),
        "rgb.tga": (0, encoded(rgb, "TGA")),
        "rgb.ppm": (0, encoded(rgb, "PPM")),
        "grey.pgm": (0, encoded(rgb.convert("L"), "PPM")),
        "comment.ppm": (0, b"P6\n# 70000 1 2\n2 1\n#\n255\n\x01\x02\x03\xfd\xfe\xff"),
        "rgb.jpg": (3, encoded(smooth, "JPEG", quality=95)),
        "subsampled.jpg": (6, encoded(smooth, "JPEG", quality=90, subsampling=2)),
        "progressive.jpeg": (3, encoded(smooth, "JPEG", quality=95, progressive=True)),
        "grey.jpg": (2, encoded(smooth.convert("L"), "JPEG", quality=95)),
        "cmyk.jpg": (4, encoded(smooth.convert("CMYK"), "JPEG", quality=95)),
        "rotated.jpg": (3, encoded(smooth, "JPEG", quality=95, exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0"
                                   b"\x01\0\0\0\x06\0\0\0\0\0\0\0")),
    }
    assert Image.open(io.BytesIO(files["rotated.jpg"][1])).getexif()[0x0112] == 6
    return files


def broken_files(good: dict) -> dict:
    def cut(name: str, share: float) -> bytes:
        data = good[name][1]
        return data[: int(len(data) * share)]

    huge = png(20000, 20000, 8, 0, b"")
    bitmap = good["rgb.bmp"][1]
    return {
        "truncated.jpg": (cut("rgb.jpg", 0.9), "truncated"),
        "truncated_progressive.jpg": (cut("progressive.jpeg", 0.9), "truncated"),
        "headless.jpg": (cut("rgb.jpg", 0.1), "headless.jpg"),
        "truncated.png": (cut("rgb.png", 0.6), "truncated"),
        "truncated.bmp": (cut("rgb.bmp", 0.8), "truncated"),
        "truncated.gif": (cut("palette.gif", 0.8), "truncated"),
        "truncated.tga": (cut("rgb.tga", 0.8), "truncated"),
        "truncated.ppm": (cut("rgb.ppm", 0.8), "truncated"),
        "empty.png": (b"", "empty"),
        "text.png": (b"These are words and not an image at all, but somebody called them one.\n", "not an image"),
        "huge.png": (huge, "178000000"),
        "huge.bmp": (bitmap[:18] + struct.pack("<ii", 100000, 100000) + bitmap[26:], "178000000"),
        "no_pixels.png": (png(0, 5, 8, 0, b""), "no_pixels.png"),
        "deep.pgm": (b"P5 2 1 65535\n\x01\x02\x03\x04", "255"),
        "dim.pgm": (b"P5 2 1 15\n\x01\x02", "255"),
        "bad_deflate.png": (good["rgb.png"][1].replace(b"IDATx", b"IDATz"), "bad_deflate.png"),
    }


def main() -> None:
    os.makedirs(FOLDER, exist_ok=True)
    good = good_files()
    lines = []
    for name, (tolerance, data) in good.items():
        pixels = decoded(data)
        lines.append(f"{name} {tolerance} {pixels.shape[0]} {pixels.shape[1]} {pixels.tobytes().hex()}")
    broken = broken_files(good)
    for name, data in [(name, data) for name, (_, data) in good.items()] + [(n, d) for n, (d, _) in broken.items()]:
        with open(os.path.join(FOLDER, name), "wb") as file:
            file.write(data)
    with open(os.path.join(FOLDER, "images.txt"), "w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")
    with open(os.path.join(FOLDER, "broken.txt"), "w", encoding="ascii") as file:
        file.write("\n".join(f"{name} {word}" for name, (_, word) in broken.items()) + "\n")


if __name__ == "__main__":
    main()
