"""Boxes of objects in images."""

from __future__ import annotations

import torch
from torch import Tensor


def intersection_over_union(left: Tensor, right: Tensor) -> Tensor:
    """Overlap of boxes, (n,) between 0 and 1; a box whose corners are swapped is empty.

    Args:
        left: x1, y1, x2, y2, (n, 4).
        right: The same, (n, 4).
    """

    def area(boxes: Tensor) -> Tensor:
        return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)

    overlap = torch.cat([torch.maximum(left[:, :2], right[:, :2]), torch.minimum(left[:, 2:], right[:, 2:])], 1)
    union = area(left) + area(right) - area(overlap)
    return torch.where(union > 0, area(overlap) / union.clamp(min=1e-12), 0.0)
