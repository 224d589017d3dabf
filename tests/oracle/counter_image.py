"""Images that need no file: each byte is a function of a seed and its position, the same as in tests/counter_image.h."""

import numpy as np


def counter_image(seed: int, height: int, width: int) -> np.ndarray:
    """uint8 [height, width, 3]. An even seed gives noise over a slope, an odd one only black and white."""
    index = np.arange(height * width * 3, dtype=np.uint64)
    mask = np.uint64(0xFFFFFFFF)
    value = (index * np.uint64(2654435761) + np.uint64(seed) * np.uint64(0x9E3779B9)) & mask
    value ^= value >> np.uint64(15)
    value = (value * np.uint64(0x85EBCA6B)) & mask
    value ^= value >> np.uint64(13)
    if seed % 2:
        levels = (value & np.uint64(1)) * np.uint64(255)
    else:
        levels = (value % np.uint64(64)) + (index * np.uint64(192)) // np.uint64(height * width * 3)
    return levels.astype(np.uint8).reshape(height, width, 3)


def fnv(data: bytes) -> int:
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value
