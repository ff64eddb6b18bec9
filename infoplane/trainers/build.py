"""From settings to units: the network, its blocks, and the local loss of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from infoplane.errors import InfoplaneError
from infoplane.models import build_model
from infoplane.recording.isolation import device_and_dtype
from infoplane.settings import settings_of
from infoplane.trainers.blocks import Chain, grouped, merge, saved_bytes, split_into_blocks
from infoplane.trainers.objectives.base import BlockInfo, Layout, LossSettings, OwnClassifier, read_options
from infoplane.trainers.settings import CE, DIB, TrainingSettings
from infoplane.trainers.task import Task
from infoplane.trainers.unit import Checkpointed, Unit

# With fewer in a batch on average, many a sample has no other of its class to be compared with.
_LEAST_OF_A_CLASS = 2


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
        InfoplaneError: The model does not take the inputs, cannot be split, or has too few units; or batches have
            too few samples of a class for the loss.
    """
    shape = tuple(example.shape[1:])
    model = build_model(
        settings.model,
        shape,
        task.outputs,
        widths=settings.widths,
        activation=settings.activation,
        example=example,
    )
    how = settings.how
    if not how.local:
        read_options(LossSettings(options=settings.options()), {})
        block: nn.Module = model
        if settings.method == "sgd-checkpoint":
            block = Checkpointed(_chain(settings, model, example).blocks)
        return model, end_to_end(block, task)
    _refuse_few_of_a_class(settings, task.classes)
    chain = _chain(settings, model, example)
    infos = _infos(chain, task)
    units = []
    for info, name, block, loss_settings in zip(
        infos, chain.names, chain.blocks, _loss_settings(settings, infos), strict=True
    ):
        objective = (how.last if info.is_last else how.make)(info, loss_settings)
        # Auxiliary classifiers read what the network gives.
        objective.to(device_and_dtype(model)[1])
        units.append(Unit(name, block, objective, info.layout))
    return chain.model, units


def end_to_end(model: nn.Module, task: Task) -> list[Unit]:
    """A whole network as the one unit that ordinary SGD trains."""
    return [Unit("network", model, OwnClassifier(task))]


def _refuse_few_of_a_class(settings: TrainingSettings, classes: int) -> None:
    """The information on the classes is one between samples of the same class, of which a batch must have some."""
    if settings.fit in (None, CE):
        return
    batch = int(settings.batch_size or 1) // int(settings.micro_batches or 1)
    several = min(settings.per_class or 1, batch)
    if max(batch / classes, several) < _LEAST_OF_A_CLASS:
        part = " (of the part of it that is taken at once)" if (settings.micro_batches or 1) > 1 else ""
        raise InfoplaneError(
            f"a batch of {batch}{part} has {batch / classes:.1f} samples of each of {classes} classes, and I(T;Y) "
            f"needs {_LEAST_OF_A_CLASS} or more: take `batch_size={_LEAST_OF_A_CLASS * classes}` or more, or draw "
            f"classes into batches by `per_class={2 * _LEAST_OF_A_CLASS}`"
        )


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
    layouts = [Layout(shape, axis) for shape, axis in zip(chain.shapes[1:], chain.channels, strict=True)]
    return [
        BlockInfo(
            index=index,
            count=count,
            image=chain.shapes[0],
            below=chain.shapes[index],
            shape=layouts[index].maps,
            following=chain.blocks[index + 1 :],
            task=task,
            layout=layouts[index],
        )
        for index in range(count)
    ]


def _loss_settings(settings: TrainingSettings, infos: Sequence[BlockInfo]) -> list[LossSettings]:
    shared = LossSettings(aux=settings.aux or "linear", options=settings.options(), seed=settings.seed)
    if settings.beta is None:
        return [shared] * len(infos)
    # What greedy-dib alone has is called as in the settings of the loss, some of it behind "loss_".
    declared = settings_of(TrainingSettings).items()
    own = {name.removeprefix("loss_"): getattr(settings, name) for name, one in declared if one.group == DIB}
    betas = block_betas(own.pop("beta"), settings.beta_schedule, len(infos))
    targets = _per_block(own.pop("target_bits") or (0.0,), len(infos), "target_bits")
    if settings.beta_schedule == "rising":
        # A matter of the numbers alone.
        del own["beta_schedule"]
    shared = replace(shared, **{name: value for name, value in own.items() if value is not None})
    return [replace(shared, beta=beta, target_bits=bits) for beta, bits in zip(betas, targets, strict=True)]


def block_betas(beta: Sequence[float], schedule: str | None, blocks: int) -> list[float]:
    """β_l of each block; the last block has no information term, whatever stands there.

    Args:
        beta: One value for all blocks, or one for each hidden block.
        schedule: `rising`: β_l = β · l / (L − 1) for l = 1 … L − 1, since compressing early layers costs most.
        blocks: Number of blocks L.

    Raises:
        InfoplaneError: The number of values fits neither.
    """
    values = _per_block(beta, blocks, "beta")
    if schedule == "rising":
        values = [value * (index + 1) / max(blocks - 1, 1) for index, value in enumerate(values)]
    return values


def _per_block(values: Sequence[float], blocks: int, name: str) -> list[float]:
    """A number for each block, 0 for the last one, which has no local loss.

    Args:
        values: One for all hidden blocks, or one for each.
        blocks: Number of blocks L.
        name: What the numbers are called in the error.

    Raises:
        InfoplaneError: The number of values fits neither.
    """
    hidden = blocks - 1
    if len(values) not in (1, hidden):
        raise InfoplaneError(f"`{name}` has {len(values)} values for {hidden} hidden blocks; give 1 or {hidden}")
    return [*(values if len(values) == hidden else [values[0]] * hidden), 0.0]
