"""The cost of a training step: memory that it needs and operations that it does, measured while it runs."""

from __future__ import annotations

import gc
import math
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_STATUS, _REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Cost:
    """Cost of one step.

    Attributes:
        peak: Most bytes of tensors that the step held at once, beyond those that stood before.
        saved: Most bytes that autograd kept at once for backward, of tensors that the step made, each storage once;
            so parameters are left out. None where that cannot be seen: gradient checkpointing and other hooks on
            saved tensors keep their own. What a custom function keeps as a plain attribute is in `peak` only.
        flops: Floating-point operations of matrix products, convolutions, attention and (on a CPU and by cuDNN)
            recurrent layers, forward, recomputed and backward, a product and its sum being two. Eigendecompositions
            and elementwise operations are not in it.
    """

    peak: int
    saved: int | None
    flops: int


def measure_step(step: Callable[[], None], device: torch.device | str) -> Cost:
    """Runs a step once and measures it, which changes none of its results.

    Take a step before it, so that what lasts (optimiser state) stands already, and clear the gradients
    (`zero_grad`): all that the step makes counts, gradients too, and what it frees of earlier steps would be
    subtracted on a GPU alone. It takes longer than usual, so time is to be measured without it. A step that uses
    `torch.func.grad` or its kin cannot be measured, since they refuse hooks on saved tensors.

    Args:
        step: A whole training step: forward, backward, optimiser.
        device: Where it runs. On CUDA the peak is that of the allocator, buffers inside operations included.
            Elsewhere it is that of the storages of all operations' results, backward and recomputation included;
            buffers that live only inside one operation, and memory of other libraries, are not seen.
    """
    device = torch.device(device)
    storages = _Storages()
    saved = _Saved(storages)
    before = 0
    if device.type == "cuda":
        # Elsewhere only what the step makes is followed, and in a process with much in it a collection takes longer
        # than most steps.
        gc.collect()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    with _without_collections(), saved, saved.watching_others(), storages:
        step()
    peak = torch.cuda.max_memory_allocated(device) - before if device.type == "cuda" else storages.peak
    return Cost(peak, None if saved.hidden else saved.peak, storages.flops)


@contextmanager
def _without_collections() -> Iterator[None]:
    """When garbage is collected depends on all that a process did; what a step takes shall not."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def forget_peak_rss() -> bool:
    """Lets `peak_rss` begin anew, so that a run does not have that of the one before it; False where it cannot."""
    try:
        _REFERENCES.write_text("5")
    except OSError:
        return False
    return True


def peak_rss() -> int | None:
    """Most physical memory that this process held, in bytes; None where the platform does not tell.

    Since `forget_peak_rss` on Linux, elsewhere ever.
    """
    # Of a process that another one started, getrusage on Linux gives no less than that one held.
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class _Storages(TorchDispatchMode):
    """Follows the storages that operations make until they are freed, and counts operations.

    It holds them by weak references only. FlopCounterMode is not used, since its hooks on modules keep the graphs
    of outputs that nobody needs any more, which this class would then count as alive.
    """

    def __init__(self) -> None:
        super().__init__()
        self._formulas = _formulas()
        self.peak = 0
        self.flops = 0
        self._held = 0
        self._seen: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._made: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs an operation and takes note of its inputs and results."""
        kwargs = kwargs or {}
        formula = self._formulas.get(func.overloadpacket)
        if formula is None:
            # In inference mode compound operations come whole.
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        # The argument of lift_fresh is what torch.tensor has just made.
        if func is not torch.ops.aten.lift_fresh.default:
            self._note((args, kwargs), made=False)
        result = func(*args, **kwargs)
        self._note(result, made=True)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=result)
        return result

    def size(self, storage: torch.UntypedStorage) -> int:
        """Bytes of a storage that was made here; 0 of one that stood before."""
        return self._made.get(id(storage), 0)

    def _note(self, values: Any, made: bool) -> None:
        for storage in filter(None, map(_storage, tree_leaves(values))):
            key = id(storage)
            if key not in self._seen:
                self._seen[key] = weakref.ref(storage, partial(self._forget, key))
                if made:
                    self._made[key] = 0
            if key in self._made:
                # An operation may have resized what was there.
                self._held += storage.nbytes() - self._made[key]
                self._made[key] = storage.nbytes()
                self.peak = max(self.peak, self._held)

    def _forget(self, key: int, _: object) -> None:
        del self._seen[key]
        self._held -= self._made.pop(key, 0)


def _formulas() -> dict[Any, Callable[..., int]]:
    """Operations of an operator from its arguments and `out_val`: those of PyTorch, and what these lack."""
    from torch.utils.flop_counter import flop_registry  # loads Triton, which only this needs

    aten = torch.ops.aten
    own = {
        # Attention on a CPU; without gradients whole layers of it are one operator.
        "_scaled_dot_product_flash_attention_for_cpu": _attention,
        "_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward,
        "_native_multi_head_attention": _attention_layer,
        "_transformer_encoder_layer_fwd": _encoder_layer,
        "convolution_backward": _convolution_backward,
        # Without biases their places hold zeros of another shape.
        "mkldnn_rnn_layer": lambda x, *rest, **_: _recurrent(x, rest[:2]),
        "mkldnn_rnn_layer_backward": lambda x, *rest, **_: 2 * _recurrent(x, rest[:2]),
        "_cudnn_rnn": lambda x, weights, *_, **__: _recurrent(x, weights),
        "_cudnn_rnn_backward": lambda x, weights, *_, **__: 2 * _recurrent(x, weights),
    }
    known = {getattr(aten, name): formula for name, formula in own.items() if hasattr(aten, name)}
    return {**flop_registry, **known}


def _convolution_backward(gradient: Tensor, x: Tensor, weight: Tensor, *rest: Any, **_: Any) -> int:
    """Of each gradient that is asked for as of the forward pass; the formula of PyTorch leaves groups out."""
    transposed, asked = rest[4], rest[7]
    positions = (x if transposed else gradient).shape[2:]
    return 2 * len(x) * math.prod(positions) * weight.numel() * sum(asked[:2])


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    """Two products, of each head of the queries."""
    return _products(query, key, value, of_keys=1, of_values=1)


def _attention_backward(_: Tensor, query: Tensor, key: Tensor, value: Tensor, *__: Any, **___: Any) -> int:
    """The scores again, then gradients of each factor of both products."""
    return _products(query, key, value, of_keys=3, of_values=2)


def _products(query: Tensor, key: Tensor, value: Tensor, *, of_keys: int, of_values: int) -> int:
    scores = math.prod(query.shape[:-1]) * key.shape[-2]
    return 2 * scores * (of_keys * key.shape[-1] + of_values * value.shape[-1])


def _attention_layer(x: Tensor, *rest: Any, **_: Any) -> int:
    """Of the products into queries, keys and values and out of them; the keys and values are the queries."""
    return _attending(x, rest[2], rest[4], rest[6])


def _encoder_layer(x: Tensor, *rest: Any, **_: Any) -> int:
    """Of these, and of two linear layers, between which stand the settings and norms."""
    return _attending(x, rest[0], rest[2], rest[4], rest[13], rest[15])


def _attending(x: Tensor, width: int, *weights: Tensor) -> int:
    """Of a layer of self-attention and what follows it, for sequences of one length or nested ones."""
    lengths = [len(sequence) for sequence in x.unbind()]
    matrices = sum(weight.numel() for weight in weights)
    return sum(2 * length * matrices + 4 * length**2 * width for length in lengths)


def _recurrent(x: Tensor, weights: Sequence[Tensor]) -> int:
    """Of a forward pass: each matrix once at every step of every sequence."""
    steps = x.numel() // x.shape[-1]
    return 2 * steps * sum(weight.numel() for weight in weights if weight.ndim == 2)


class _Packed:
    """A tensor that autograd keeps; dies when autograd lets go of it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class _Saved(saved_tensors_hooks):
    """Follows the tensors that autograd keeps for backward, each storage once."""

    def __init__(self, storages: _Storages) -> None:
        super().__init__(self._pack, lambda packed: packed.tensor)
        self.peak = 0
        self.hidden = False
        self._storages = storages
        self._held = 0
        self._uses: dict[int, int] = {}

    @contextmanager
    def watching_others(self) -> Iterator[None]:
        """Notices hooks that take the place of these."""
        enter = saved_tensors_hooks.__enter__

        def noticed(hooks: saved_tensors_hooks) -> None:
            self.hidden = True
            enter(hooks)

        saved_tensors_hooks.__enter__ = noticed  # type: ignore[method-assign]
        try:
            yield
        finally:
            saved_tensors_hooks.__enter__ = enter  # type: ignore[method-assign]

    def _pack(self, tensor: Tensor) -> _Packed:
        # The tensor itself would close a cycle with the graph, which outlives its use then.
        packed = _Packed(tensor.detach())
        storage = _storage(tensor)
        size = 0 if storage is None else self._storages.size(storage)
        if size:
            key = id(storage)
            self._uses[key] = self._uses.get(key, 0) + 1
            if self._uses[key] == 1:
                self._held += size
                self.peak = max(self.peak, self._held)
            weakref.finalize(packed, self._release, key, size)
        return packed

    def _release(self, key: int, size: int) -> None:
        self._uses[key] -= 1
        if not self._uses[key]:
            del self._uses[key]
            self._held -= size


def _storage(value: Any) -> torch.UntypedStorage | None:
    """The memory behind a dense tensor."""
    dense = isinstance(value, Tensor) and value.layout is torch.strided
    return value.untyped_storage() if dense else None
