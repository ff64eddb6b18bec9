"""From settings to units: the network, its blocks, and the local loss of each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from infoplane.errors import InfoplaneError
from infoplane.models import build_model
from infoplane.trainers.blocks import Chain, grouped, merge, saved_bytes, split_into_blocks
from infoplane.trainers.objectives.base import BlockInfo, LossSettings, OwnClassifier, read_options
from infoplane.trainers.settings import TrainingSettings
from infoplane.trainers.task import Task
from infoplane.trainers.unit import Checkpointed, Unit


def build_units(settings: TrainingSettings, task: Task, example: Tensor) -> tuple[nn.Module, list[Unit]]:
    """The network with random weights from the global random state, and what is trained of it.

    Args:
        settings: Resolved settings.
        task: What it is trained for.
        example: Two network inputs (2, ...), on the CPU.

    Returns:
        The network, and its units, which share its parameters: one that holds the whole of it for end-to-end
        methods, else one a block.

    Raises:
        InfoplaneError: The model does not take the inputs, cannot be split, or has too few units.
    """
    shape = tuple(example.shape[1:])
    model = build_model(settings.model, shape, task.outputs, widths=settings.widths, activation=settings.activation)
    how = settings.how
    if not how.local:
        read_options(LossSettings(options=settings.options()), {})
        block: nn.Module = model
        if settings.method == "sgd-checkpoint":
            block = Checkpointed(_chain(settings, model, example).blocks)
        return model, end_to_end(block, task)
    chain = _chain(settings, model, example)
    infos = _infos(chain, task)
    units = []
    for info, name, block, loss_settings in zip(
        infos, chain.names, chain.blocks, _loss_settings(settings, infos), strict=True
    ):
        objective = (how.last if info.is_last else how.make)(info, loss_settings)
        units.append(Unit(name, block, objective))
    return chain.model, units


def end_to_end(model: nn.Module, task: Task) -> list[Unit]:
    """A whole network as the one unit that ordinary SGD trains."""
    return [Unit("network", model, OwnClassifier(task))]


def _chain(settings: TrainingSettings, model: nn.Module, example: Tensor) -> Chain:
    chain = split_into_blocks(model, example, settings.how.between)
    if settings.blocks is None:
        return chain
    if settings.blocks > len(chain.blocks):
        raise InfoplaneError(
            f"model '{settings.model}' has {len(chain.blocks)} natural units, fewer than `blocks={settings.blocks}`"
        )
    costs: Sequence[float] = [1.0] * len(chain.blocks)
    if settings.group == "memory":
        costs = saved_bytes(chain, example)
    return merge(chain, grouped(costs, settings.blocks))


def _infos(chain: Chain, task: Task) -> list[BlockInfo]:
    count = len(chain.blocks)
    return [
        BlockInfo(
            index=index,
            count=count,
            image=chain.shapes[0],
            below=chain.shapes[index],
            shape=chain.shapes[index + 1],
            following=chain.blocks[index + 1 :],
            task=task,
        )
        for index in range(count)
    ]


def _loss_settings(settings: TrainingSettings, infos: Sequence[BlockInfo]) -> list[LossSettings]:
    make = partial(LossSettings, aux=settings.aux or "linear", options=settings.options())
    if settings.beta is None:
        return [make()] * len(infos)
    return [
        make(
            beta=beta,
            beta_schedule="warmup" if settings.beta_schedule == "warmup" else "constant",
            penalty=str(settings.penalty),
            alpha=float(settings.loss_alpha or 0),
            bandwidth=str(settings.loss_bandwidth),
            every=int(settings.loss_every or 1),
        )
        for beta in block_betas(settings.beta, settings.beta_schedule, len(infos))
    ]


def block_betas(beta: Sequence[float], schedule: str | None, blocks: int) -> list[float]:
    """β_l of each block; the last block has no information term, whatever stands there.

    Args:
        beta: One value for all blocks, or one for each hidden block.
        schedule: `rising`: β_l = β · l / (L − 1) for l = 1 … L − 1, since compressing early layers costs most.
        blocks: Number of blocks L.

    Raises:
        InfoplaneError: The number of values fits neither.
    """
    hidden = blocks - 1
    if len(beta) not in (1, hidden):
        raise InfoplaneError(f"`beta` has {len(beta)} values for {hidden} hidden blocks; give 1 or {hidden}")
    values = list(beta) if len(beta) == hidden else [beta[0]] * hidden
    if schedule == "rising":
        values = [value * (index + 1) / hidden for index, value in enumerate(values)]
    return [*values, 0.0]
