"""The German traffic signs (Stallkamp et al. 2012): images of many sizes."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from infoplane.data.dataset import Split


def decode(dataset: Any, size: int) -> Split:
    """Decode images and resize each as a whole, in the order of the files (sorted by class)."""
    from PIL import Image

    images = np.empty((len(dataset), size, size, 3), dtype=np.uint8)
    labels = torch.empty(len(dataset), dtype=torch.int64)

    def decode(index: int) -> None:
        image, labels[index] = dataset[index]
        images[index] = image.resize((size, size), Image.Resampling.BILINEAR)

    # Threads suffice, since Pillow decodes and resizes without the interpreter lock.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(decode, range(len(dataset))))
    return Split(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), labels)
