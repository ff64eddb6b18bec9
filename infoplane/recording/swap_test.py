"""The swap test: does a layer get all that it knows through the layer before it?

For neighbours T_l → T_{l+1} the network runs again with T_l replaced by that of other samples, drawn with
replacement (a permutation would hide a layer that mixes the samples of a batch). With B the output of the next
layer, B′ what it is after the swap and π the samples that were drawn,
    δ_l = ‖B′ − B[π]‖ / ‖B − B[π]‖.
A chain has δ = 0, up to the rounding of the network's precision; where the next layer does not depend on T_l at
all, δ is about 1; in between something else reaches it, such as a shortcut around T_l, a mask of padding, the
statistics of the batch, or noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from infoplane.recording.layers import Layer
from infoplane.recording.passes import Passes
from infoplane.recording.trace import IN, tensors_in

SAMPLES = 64


def swap_test(passes: Passes, layers: Sequence[Layer], samples: int = SAMPLES, seed: int = 0) -> NDArray:
    """Measures δ of every link between neighbouring layers, on the network as it is now.

    One forward pass of a few samples for each link, and one more; the network stays as it was.

    Args:
        passes: The network and its probe.
        layers: The layers of the chain, from input to output.
        samples: Number of samples from all over the probe; no more than there are in a batch.
        seed: Seed of the draw.

    Returns:
        δ of the L − 1 links, (L − 1,) float64; NaN where a layer cannot be swapped (it works through its batch in
        pieces, or gives a packed sequence) or where the next one is constant.
    """
    n = len(passes.inputs)
    rows = torch.linspace(0, n - 1, min(n, samples, passes.batch_size)).long()
    drawn = torch.randint(len(rows), (len(rows),), generator=torch.Generator().manual_seed(seed))
    plain = {name: _flat(values) for name, values in passes.raw(layers, rows).items()}
    deltas = []
    for layer, following in pairwise(layers):
        swapped = passes.raw([layer, following], rows, _Swap(layer, drawn).install)
        # Seen behind the swap: one that had no effect says nothing.
        took = np.allclose(_flat(swapped[layer.name]), plain[layer.name][drawn.numpy()], rtol=1e-5, atol=1e-7)
        deltas.append(_delta(plain[following.name], _flat(swapped[following.name]), drawn) if took else np.nan)
    return np.array(deltas, dtype=np.float64)


def _flat(values: Tensor) -> NDArray:
    return values.reshape(len(values), -1).cpu().double().numpy()


def _delta(before: NDArray, after: NDArray, drawn: Tensor) -> float:
    expected = before[drawn.numpy()]
    scale = np.linalg.norm(before - expected)
    return float(np.linalg.norm(after - expected) / scale) if np.isfinite(scale) and scale > 0 else np.nan


class _Swap:
    """Puts the values of other samples in the place of a layer's own, in place, so that all who use them see it."""

    def __init__(self, layer: Layer, drawn: Tensor) -> None:
        self.layer, self.drawn = layer, drawn
        self._calls = 0

    def install(self, stack: ExitStack, modules: Mapping[str, nn.Module]) -> None:
        """Hooks the module whose output (or input) the layer is; before the hooks that read it."""
        module = modules[self.layer.port.module]
        if self.layer.port.side == IN:
            handle = module.register_forward_pre_hook(self._before, with_kwargs=True)
        else:
            handle = module.register_forward_hook(self._after)
        stack.callback(handle.remove)

    def _before(self, _module: nn.Module, args: Any, kwargs: Any) -> None:
        self._swap((args, kwargs))

    def _after(self, _module: nn.Module, _args: Any, output: Any) -> None:
        self._swap(output)

    def _swap(self, value: Any) -> None:
        port, number = self.layer.port, self._calls
        self._calls += 1
        if port.number != number:
            return
        for path, tensor in tensors_in(value):
            dense = tensor.layout == torch.strided and not tensor.is_quantized
            if path == port.path and dense and tensor.shape[port.axis] == len(self.drawn):
                tensor.copy_(tensor.index_select(port.axis, self.drawn.to(tensor.device)))
