"""Streams of random numbers: one for each purpose, so that draws of one seed have nothing to do with each other."""

from __future__ import annotations

import hashlib

import torch


def random_stream(purpose: str, seed: int) -> torch.Generator:
    """Random numbers of one purpose and seed, on the CPU; the same arguments give the same ones on every machine.

    Drawn by the seed alone, the samples of wrong labels would be the first of an epoch, or of a probe, of it.

    Args:
        purpose: What is drawn, such as `label noise`.
        seed: Seed of the run.
    """
    return torch.Generator().manual_seed(stream_seed(purpose, seed))


def stream_seed(purpose: str, seed: int) -> int:
    """The seed of the generator of `random_stream`; arguments as there."""
    return int.from_bytes(hashlib.sha256(f"{purpose} {seed}".encode()).digest()[:8], "big")
