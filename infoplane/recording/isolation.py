"""Forward passes that leave no trace on the network, the data or the random numbers of the training around them.

Put back are: training flags, buffers (batch statistics, counters), attributes of modules that were set (a term of
the loss, a hidden state, a counter), generators of random numbers that modules hold, the parameters of networks
that write to them in `forward`, gradients, and the random state of torch, NumPy and Python. What cannot be put back
is what `forward` changes inside an object that it holds (it appends to a list, writes into a tensor that is no
buffer), and what the user's own hooks do.
"""

from __future__ import annotations

import functools
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from infoplane.errors import InfoplaneError


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode within the block; afterwards training flags and random state are as they were."""
    with _kept_random_state(model), in_mode(model, False):
        yield


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Training or evaluation mode, as the network itself goes into it; afterwards its flags are as they were."""
    flags = {module: module.training for module in model.modules()}
    try:
        model.train() if training else model.eval()
    except NotImplementedError:
        raise InfoplaneError(
            f"this {type(model).__name__} has no evaluation mode, as exported networks have none; record the "
            "module that it was made from"
        ) from None
    try:
        yield
    finally:
        # A module may do more than set its flag: adapters merge their weights for evaluation.
        for module in filter(_acts_on_mode, flags):
            module.train(flags[module])
        for module, flag in flags.items():
            module.training = flag


def _acts_on_mode(module: nn.Module) -> bool:
    kind = type(module)
    return kind.train is not nn.Module.train or kind.eval is not nn.Module.eval


@contextmanager
def _kept_random_state(model: nn.Module) -> Iterator[None]:
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
        stack.enter_context(_kept_random_state(model))
        if parameters:
            stack.enter_context(_kept_parameters(model))
        stack.enter_context(_kept_attributes(model))
        stack.enter_context(_lent_buffers(model))
        # Left before parameters and buffers are put back, as leaving it may write to them.
        stack.enter_context(in_mode(model, False))
        if gradients:
            stack.enter_context(_kept_gradients(model))
        stack.enter_context(_eager())
        stack.enter_context(_plain_attention())
        stack.enter_context(torch.enable_grad() if gradients else torch.no_grad())
        yield


def device_and_dtype(model: nn.Module) -> tuple[torch.device, torch.dtype | None]:
    """Where a network takes its inputs, and in which precision: that of most of its parameters, or None."""
    first = next(model.parameters(), None)
    sizes: Counter[torch.dtype] = Counter()
    for parameter in model.parameters():
        if parameter.is_floating_point():
            sizes[parameter.dtype] += parameter.numel()
    dtype = sizes.most_common(1)[0][0] if sizes else None
    return torch.device("cpu") if first is None else first.device, dtype


def writes_parameters(model: nn.Module) -> bool:
    """Whether a network is known to write to its parameters: embeddings of a largest norm, adapters that merge."""
    return any(getattr(module, "max_norm", None) is not None or _acts_on_mode(module) for module in model.modules())


def fingerprint(model: nn.Module) -> list[tuple[int, float, float]]:
    """Numbers that change when a parameter does: where it is stored, its sum, the sum of its magnitudes."""
    marks = []
    for parameter in model.parameters():
        values = parameter.detach()
        values = values.cpu() if values.device.type == "mps" else values  # which has no float64
        sums = (values.sum(dtype=_wide(values)).abs().item(), values.abs().sum(dtype=torch.float64).item())
        marks.append((parameter.data_ptr(), *sums))
    return marks


def _wide(values: Tensor) -> torch.dtype:
    return torch.complex128 if values.is_complex() else torch.float64


@contextmanager
def _lent_buffers(model: nn.Module) -> Iterator[None]:
    """Copies stand in the place of the buffers: a graph that waits for its backward pass may hold these."""
    places = [(module._buffers, dict(module._buffers)) for module in model.modules() if module._buffers]
    every = {id(buffer): buffer for _, buffers in places for buffer in buffers.values() if buffer is not None}
    copies = {key: buffer.detach().clone() for key, buffer in every.items()}
    for place, buffers in places:
        place.update({name: copies[id(buffer)] for name, buffer in buffers.items() if buffer is not None})
    try:
        yield
    finally:
        for place, buffers in places:
            place.clear()
            place.update(buffers)


@contextmanager
def _kept_attributes(model: nn.Module) -> Iterator[None]:
    """Attributes that are set anew are put back, and so is the state of generators among them."""
    kept = [(module, dict(vars(module))) for module in model.modules() if not is_scripted(module)]
    states = [_state(value) for _, attributes in kept for value in attributes.values()]
    try:
        yield
    finally:
        for module, attributes in kept:
            now = vars(module)
            if now.keys() != attributes.keys() or any(now[name] is not value for name, value in attributes.items()):
                now.clear()
                now.update(attributes)
        for put_back in filter(None, states):
            put_back()


def _state(value: Any) -> Callable[[], object] | None:
    """What puts back the state of a generator of random numbers; None for anything else."""
    if isinstance(value, torch.Generator):
        return functools.partial(value.set_state, value.get_state())
    if isinstance(value, np.random.Generator):
        return functools.partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    if isinstance(value, random.Random):
        return functools.partial(value.setstate, value.getstate())
    return None


def is_scripted(module: nn.Module) -> bool:
    """Whether TorchScript runs a module, which knows neither its attributes nor hooks."""
    return isinstance(module, torch.jit.ScriptModule)


@contextmanager
def _kept_parameters(model: nn.Module) -> Iterator[None]:
    # On the CPU: a network that fills a GPU leaves no room there for its copy.
    kept = [(p, p.data, p.detach().to("cpu", copy=True), p.requires_grad) for p in model.parameters()]
    try:
        yield
    finally:
        for parameter, data, copy, requires in kept:
            parameter.data = data
            parameter.requires_grad_(requires)
            if not _identical(data, copy.to(data.device)):
                data.copy_(copy)


def _identical(a: Tensor, b: Tensor) -> bool:
    """Whether all values are the same, NaN where NaN was."""
    return bool(((a == b) | ((a != a) & (b != b))).all())


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
