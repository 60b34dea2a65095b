"""Shuffling without a list: a keyed permutation of 0 … n-1, computed element by element.

A Feistel network permutes the numbers below the smallest power of two that is at least ``n``. A result outside the
range is permuted again until it is inside (cycle walking), which gives a permutation of ``n`` elements (Black and
Rogaway, "Ciphers with arbitrary finite domains", 2002). This shuffles an epoch of any number of sentences in constant
memory, and resuming in its middle needs only the position.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ROUNDS = 6
LEAST_BITS = 6  # with fewer, the halves are so small that some orders hardly ever occur
Numbers = npt.NDArray[np.uint64]


def key(*parts: int) -> int:
    """A 64-bit key that differs for different ``parts``."""
    value = 0
    for part in parts:
        value = int(_mix(np.array([value ^ (part & (2**64 - 1))], np.uint64))[0])
    return value


def permute(places: np.ndarray, sizes: np.ndarray | int, keys: np.ndarray | int) -> npt.NDArray[np.int64]:
    """The images of ``places`` under the permutation of ``range(size)`` given by ``key``; all three broadcast.

    Args:
        places: integers, ``0 <= place < size``.
        sizes: positive integers below 2**53.
        keys: 64-bit integers.
    """
    parts = np.broadcast_arrays(*(np.asarray(part, np.uint64) for part in (places, sizes, keys)))
    value, size, secret = (part.ravel() for part in parts)
    out, left = np.zeros(value.size, np.uint64), np.flatnonzero(size > 1)  # of one element there is one permutation
    value, size, secret = value[left], size[left], secret[left]
    bits = np.maximum(np.frexp((size - np.uint64(1)).astype(np.float64))[1], LEAST_BITS).astype(np.uint64)
    while left.size:
        value = _feistel(value, bits, secret)
        out[left] = value
        outside = value >= size
        value, size, secret, bits = (part[outside] for part in (value, size, secret, bits))
        left = left[outside]
    return out.reshape(parts[0].shape).astype(np.int64)


def _feistel(value: Numbers, bits: Numbers, secret: Numbers) -> Numbers:
    one = np.uint64(1)
    width, other = bits >> one, bits - (bits >> one)  # of the left and of the right half
    left, right = value >> other, value & ((one << other) - one)
    for number in range(ROUNDS):
        left, right = right, left ^ (_mix(right + secret + np.uint64(number << 40)) & ((one << width) - one))
        width, other = other, width
    return (left << other) | right


def _mix(value: Numbers) -> Numbers:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): every bit of the input reaches every bit."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
