"""Records the synchronous path of a training: from its first to its last weights, all layers keeping step.

θ(s) = θ_0 + c(s) (θ_end − θ_0) has one progress c for all layers, that of the training itself,
    c(s) = 1 − mean over layers of ‖θ_l(s) − θ_l(end)‖ / ‖θ_l(0) − θ_l(end)‖.
No layer learns before another there. An order in which the layers' *activations* settle on it is a matter of
structure, as none can settle before those below it; what training adds to that order is learned.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from infoplane.errors import InfoplaneError
from infoplane.files import load_tensors, save_tensors
from infoplane.provenance import provenance
from infoplane.runfile import (
    SYNCHRONOUS,
    Run,
    RunWriter,
    Snapshot,
    beside,
    open_run,
    recording_of,
    synchronous_path_of,
)

Take = Callable[[RunWriter, Snapshot, float], None]


class SynchronousPath:
    """The synchronous path of one recorded training, in a run file of its own.

    Args:
        model: The network.
        run: The run file of the training.

    Attributes:
        path: Where its run file is.
        first: Where the network's state at the first snapshot waits for the end of the training.
    """

    def __init__(self, model: nn.Module, run: Path) -> None:
        self.model, self.run = model, run
        self.path, self.first = synchronous_path_of(run), beside(run, ".first.pt")

    def keep_first(self, run_id: str) -> None:
        """Keeps the parameters and buffers of the network as they are now, as those of the first snapshot.

        Args:
            run_id: Identity of the run that they belong to.

        Raises:
            InfoplaneError: The file cannot be written.
        """
        save_tensors({"run_id": run_id, "state": _copies(self.model)}, self.first)

    def has_first(self, run_id: str) -> bool:
        """Whether the state at the first snapshot of this run is kept."""
        return self.first.exists() and recording_of(self._kept()["run_id"]) == recording_of(run_id)

    def record(self, take: Take, device: str) -> None:
        """Makes the run file of the path; the network is the last one of the training, and stays so bit for bit.

        Args:
            take: Records the network as it is, with a progress c, as another snapshot of the training in a file.
            device: What computes, for the record.

        Raises:
            InfoplaneError: The first state is not kept, or belongs to other parameters; the parameters did not
                move, or are not finite; or the file cannot be written.
        """
        with open_run(self.run) as run:
            if not self.has_first(run.run_id):
                raise InfoplaneError(
                    "the weights of the first snapshot are not kept; make the recorder while the network has them"
                )
            writer = RunWriter.whole(
                self.path,
                run.layers,
                run.probe,
                config=run.config | {"trajectory": SYNCHRONOUS, "trajectory_of": run.run_id},
                provenance=provenance(device),
                snapshots=len(run.snapshots),
            )
            pace = progress(run)
            with _between(self.model, self._kept()["state"]) as go_to, writer as out:
                for snapshot, share in zip(run.snapshots, pace.tolist(), strict=True):
                    go_to(share)
                    take(out, snapshot, share)

    def discard(self) -> None:
        """Takes away the path and the first state of a run that is no longer there."""
        for file in (self.path, self.first):
            file.unlink(missing_ok=True)

    def _kept(self) -> dict[str, Any]:
        try:
            return dict(load_tensors(self.first))
        except Exception as error:
            raise InfoplaneError(f"{self.first} is damaged; delete it") from error


def progress(run: Run) -> NDArray:
    """How far the parameters of a run have come at each snapshot: one minus the mean remaining distance of layers.

    Layers without parameters, and those that did not move, are left out.

    Args:
        run: An open run.

    Returns:
        c, (snapshots,) float64: 0 at the first snapshot, 1 at the last. Where the parameters are further from
        their end than at the start it is 0 too: beyond its ends the path has no meaning.

    Raises:
        InfoplaneError: No parameters are recorded, none moved, or some are not finite.
    """
    distances = [run.parameter_distances(layer.name) for layer in run.layers]
    moved = [values / values[0] for values in distances if values is not None and values[0] != 0]
    if not moved:
        raise InfoplaneError("no recorded parameter moved")
    if not np.isfinite(moved).all():
        raise InfoplaneError("parameters are not finite")
    return np.maximum(1 - np.mean(moved, axis=0), 0.0)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _copies(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, on the CPU: a network that fills a GPU leaves no room there for its copy."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in _tensors(model).items()}


@contextlib.contextmanager
def _between(model: nn.Module, first: dict[str, Tensor]) -> Iterator[Callable[[float], None]]:
    """A function that puts a network on the straight line from its first to its present state, and back at the end.

    Counters, and what else is no floating-point number, stay as they are now.
    """
    tensors, last = _tensors(model), _copies(model)
    if {name: t.shape for name, t in first.items()} != {name: t.shape for name, t in last.items()}:
        raise InfoplaneError("the network has other parameters than at the first snapshot")

    def put(values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            # Past autograd's count of versions: a graph that waits for its backward pass will find the same values.
            tensors[name].data.copy_(value)

    def go_to(share: float) -> None:
        continuous = (name for name, value in last.items() if value.is_floating_point() or value.is_complex())
        # Unlike first + share * (last - first), lerp is exact at both ends.
        put({name: torch.lerp(first[name].to(last[name].dtype), last[name], share) for name in continuous})

    try:
        yield go_to
    finally:
        put(last)
