"""End-to-end training: the objective of ordinary SGD."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from infoplane.layers import tensor_of


def end_to_end(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the whole network.

    Args:
        model: Takes inputs, gives logits (n, classes).
        inputs: (n, ...).
        labels: (n,) int64.

    Returns:
        Mean loss in nats, 0-dimensional, with its graph.
    """
    return functional.cross_entropy(tensor_of(model(inputs)), labels)
