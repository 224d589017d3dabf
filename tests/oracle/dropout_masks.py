"""The masks of LoRA dropout, as host/reference/linear.h defines them: Philox4x32-10 (Salmon et al., SC 2011) in numpy, written
from the generator's paper and that comment, for the scripts that make fixtures with PyTorch."""

import numpy as np


def philox(counter, key):
    """Four words of 32 bits for each counter: counter is four arrays, key two numbers."""
    c = [np.asarray(word, np.uint64) for word in np.broadcast_arrays(*counter)]
    k = [int(word) for word in key]
    mask = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        left, right = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(right >> np.uint64(32)) ^ c[1] ^ np.uint64(k[0]), right & mask,
             (left >> np.uint64(32)) ^ c[3] ^ np.uint64(k[1]), left & mask]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def factors(seed, step, stream, samples, tokens, channels, rate):
    """What x [len(samples), tokens, channels] is multiplied with: 0, or 1 / (1 - rate)."""
    blocks = (channels + 3) // 4
    counter = (np.arange(tokens * blocks)[None, :], np.asarray(samples)[:, None], step & 0xFFFFFFFF,
               1 << 31 | (step >> 32 & 0x7FFF) << 16 | stream)
    words = np.stack(philox(counter, (seed & 0xFFFFFFFF, seed >> 32)), -1)
    words = words.reshape(len(samples), tokens, 4 * blocks)[:, :, :channels]
    return (words >= int(rate * 2**32)) / (1 - rate)


def _self_test():
    """Known answers of the authors' Random123 library (kat_vectors)."""
    zeros = [int(word) for word in philox((0, 0, 0, 0), (0, 0))]
    assert zeros == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8], [hex(word) for word in zeros]
    ones = [int(word) for word in philox((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2)]
    assert ones == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD], [hex(word) for word in ones]


_self_test()
