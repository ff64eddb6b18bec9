"""Training in several processes, started by torchrun: who one is, and what the others do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from infoplane.errors import InfoplaneError


def rank() -> int:
    """Number of this process; 0 is the one that records, and the only one without torchrun."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextlib.contextmanager
def process_group(device: str) -> Iterator[str]:
    """Joins the processes that torchrun started, for as long as the block lasts.

    Args:
        device: The device asked for; "auto" or "cuda" becomes the GPU of this process where there are any.

    Yields:
        The device of this process.

    Raises:
        InfoplaneError: The processes cannot be joined.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield device
        return
    cuda = device in ("auto", "cuda") and torch.cuda.is_available()
    if cuda:
        device = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if cuda else "gloo")
    except (RuntimeError, ValueError) as error:
        raise InfoplaneError(f"cannot join the processes of torchrun ({error}); run it without torchrun") from error
    try:
        yield device
    finally:
        dist.destroy_process_group()


def parallel(unit: nn.Module, rests: bool = False) -> nn.Module:
    """A module whose gradients are averaged over the processes; the module itself if there is one process.

    Args:
        unit: The module.
        rests: Whether some steps leave some of its parameters out, which the processes look for in each step then.
    """
    return DistributedDataParallel(unit, find_unused_parameters=rests) if world() > 1 else unit


def share_buffers(units: Sequence[nn.Module]) -> None:
    """Gives all processes the buffers of the first one, such as the statistics of batch norm that is frozen."""
    if world() == 1:
        return
    for unit in units:
        for buffer in unit.buffers():
            dist.broadcast(buffer, 0)


def any_of(value: int, device: torch.device) -> int:
    """The largest of the processes' values, so that all of them stop when one is asked to."""
    if world() == 1:
        return value
    tensor = torch.tensor(value, device=device)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return int(tensor)


def barrier() -> None:
    """Waits for the other processes."""
    if world() > 1:
        dist.barrier()
