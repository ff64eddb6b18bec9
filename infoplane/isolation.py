"""Forward passes that leave no trace on the network, the data or the random numbers of the training around them.

Put back are: training flags, buffers (batch statistics, counters), the parameters of networks that write to them in
`forward`, gradients, and the random state of torch, NumPy and Python. Plain Python attributes of modules, and
`torch.Generator` objects that a network keeps, cannot be put back.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from infoplane.errors import InfoplaneError


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode within the block; afterwards training flags and random state are as they were."""
    flags = {module: module.training for module in model.modules()}
    with kept_random_state(model):
        try:
            model.eval()
        except NotImplementedError:
            raise InfoplaneError(
                f"this {type(model).__name__} has no evaluation mode, as exported networks have none; record the "
                "module that it was made from"
            ) from None
        try:
            yield
        finally:
            for module, flag in flags.items():
                module.training = flag


@contextmanager
def kept_random_state(model: nn.Module) -> Iterator[None]:
    """The random state of torch (also on the network's GPUs), NumPy and Python is as before after the block."""
    tensors = [*model.parameters(), *model.buffers()]
    devices = sorted({tensor.device.index or 0 for tensor in tensors if tensor.is_cuda})
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 the state that others use
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


@contextmanager
def undisturbed(model: nn.Module, *, gradients: bool = False, parameters: bool = False) -> Iterator[None]:
    """A block for forward passes in evaluation mode, after which the network is as it was.

    Within it nothing is compiled (hooks would compile every step anew) and no attention takes torch's fused path,
    whose outputs are nested tensors.

    Args:
        model: The network.
        gradients: Allow gradients, for networks that take some in `forward`; none are left behind.
        parameters: Put back parameters too, for networks that write to them in `forward`.
    """
    with ExitStack() as stack:
        stack.enter_context(eval_mode(model))
        stack.enter_context(_kept_buffers(model))
        if parameters:
            stack.enter_context(_kept_parameters(model))
        if gradients:
            stack.enter_context(_kept_gradients(model))
        stack.enter_context(_eager())
        stack.enter_context(_plain_attention())
        stack.enter_context(torch.enable_grad() if gradients else torch.no_grad())
        yield


def device_and_dtype(model: nn.Module) -> tuple[torch.device, torch.dtype | None]:
    """Where a network takes its inputs, and in which precision: that of its first floating parameter, if any."""
    first = next(model.parameters(), None)
    floating = (p.dtype for p in model.parameters() if p.is_floating_point())
    return torch.device("cpu") if first is None else first.device, next(floating, None)


def writes_parameters(model: nn.Module) -> bool:
    """Whether a network is known to write to its parameters in `forward`, as embeddings with a largest norm do."""
    return any(getattr(module, "max_norm", None) is not None for module in model.modules())


def fingerprint(model: nn.Module) -> list[tuple[int, float, float]]:
    """Numbers that change when a parameter does: where it is stored, its sum, the sum of its magnitudes."""
    found = []
    for parameter in model.parameters():
        values = parameter.detach()
        sums = (values.sum(dtype=_wide(values)).abs().item(), values.abs().sum(dtype=torch.float64).item())
        found.append((values.data_ptr(), *sums))
    return found


def _wide(values: Tensor) -> torch.dtype:
    return torch.complex128 if values.is_complex() else torch.float64


@contextmanager
def _kept_buffers(model: nn.Module) -> Iterator[None]:
    """Puts back the buffers: the values of those that were overwritten, and those that others took the place of."""
    places = [(module, dict(module._buffers)) for module in model.modules() if module._buffers]
    copies = {
        id(buffer): (buffer, buffer.detach().clone(), _version(buffer))
        for _, buffers in places
        for buffer in buffers.values()
        if buffer is not None
    }
    try:
        yield
    finally:
        for module, buffers in places:
            module._buffers.clear()
            module._buffers.update(buffers)
        with torch.no_grad():
            for buffer, copy, version in copies.values():
                # One that nobody wrote to is left alone: a graph that waits for its backward pass may hold it.
                if _version(buffer) != version or not _identical(buffer, copy):
                    buffer.copy_(copy)


def _identical(a: Tensor, b: Tensor) -> bool:
    """Whether all values are the same, NaN where NaN was."""
    return bool(((a == b) | ((a != a) & (b != b))).all())


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


@contextmanager
def _kept_parameters(model: nn.Module) -> Iterator[None]:
    # On the CPU: a network that fills a GPU leaves no room there for its copy.
    kept = [(p, p.data, p.detach().to("cpu", copy=True)) for p in model.parameters()]
    try:
        yield
    finally:
        for parameter, data, copy in kept:
            parameter.data = data
            if not _identical(data, copy.to(data.device)):
                data.copy_(copy)


@contextmanager
def _kept_gradients(model: nn.Module) -> Iterator[None]:
    kept = [(parameter, parameter.grad) for parameter in model.parameters()]
    for parameter, _ in kept:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in kept:
            parameter.grad = gradient


def _eager() -> AbstractContextManager[object]:
    """No compilation within the block, where torch can be told so (2.6 and newer) and compiles at all."""
    if "torch._dynamo" not in sys.modules or not hasattr(torch.compiler, "set_stance"):
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


@contextmanager
def _plain_attention() -> Iterator[None]:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
