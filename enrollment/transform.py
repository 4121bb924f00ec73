"""The secret rotation under which embeddings are searched: derived from a key, it changes no cosine.

Multiplied by an orthogonal matrix all embeddings of a gallery keep their angles to one another, while without the key
their numbers say nothing: under another key the same face is an unrelated vector. It is no encryption. Whoever has the
key turns them back, and whoever reads as many of them as the embedding has dimensions, and knows those faces'
embeddings, computes the matrix (docs/keys.md).
"""

from __future__ import annotations

import functools
import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

_LABEL: Final = b"sd-proctor duplicate search 1"
"""Says how the matrix is made of the key; another way gets another number, and new key versions."""


def transform_derive(key: bytes, *, model: str, dimensions: int) -> Matrix:
    """Return the orthogonal float64 matrix, ``(dimensions, dimensions)``, that belongs to a key of 32 bytes.

    SHAKE-256 of key, model and dimensions seeds normally distributed numbers; the QR decomposition of such a matrix,
    with the signs of R's diagonal made positive, is distributed uniformly over all rotations and reflections
    (Mezzadri, "How to generate random matrices from the classical compact groups", 2007).
    """
    count = dimensions * dimensions
    seed = b"\0".join((_LABEL, model.encode(), str(dimensions).encode(), key))
    words = np.frombuffer(hashlib.shake_256(seed).digest(16 * count), dtype="<u8").reshape(2, count)
    uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53  # 53 random bits: 0 to just under 1
    radius = np.sqrt(-2.0 * np.log1p(-uniform[0]))
    normal = radius * np.cos(2.0 * np.pi * uniform[1])  # Box and Muller
    q, r = np.linalg.qr(normal.reshape(dimensions, dimensions))
    return np.asarray(q * np.sign(np.diag(r)), dtype=np.float64)


transform_cached = functools.lru_cache(maxsize=32)(transform_derive)
"""The same, remembered: making one of 512 dimensions takes tens of milliseconds."""


def protect(embedding: NDArray[np.float32], transform: Matrix) -> NDArray[np.float32]:
    """Return embeddings, ``(dimensions,)`` or ``(n, dimensions)``, under the transform: float32, their lengths kept."""
    return np.asarray(np.asarray(embedding, dtype=np.float64) @ transform.T, dtype=np.float32)
