"""Memory of one training step over depth: greedy methods against SGD, checkpointing and accumulation.

    python benchmarks/memory.py
    python benchmarks/memory.py --batch 128 --device cuda --output memory.md --figure memory-depth

Networks: chains of equal blocks (3×3 convolution of 32 channels, batch norm, ReLU, at 32×32), VGG-11 and VGG-16.
Each number is of one real step (forward, backward, optimiser) of the project's training loop, the second one, by
its own meter: `infoplane.trainers.meter.measure_step`. The data are noise, on which memory does not depend.
"""

from __future__ import annotations

import argparse
import itertools
import platform
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from infoplane.data import Dataset, DatasetSpec, Split
from infoplane.figures.memory_depth import MIB, memory_over_depth
from infoplane.figures.parts.style import save
from infoplane.reporting.tables import markdown
from infoplane.trainers.build import build_units
from infoplane.trainers.loop import Loop, Recipe, stages
from infoplane.trainers.meter import Cost
from infoplane.trainers.optim import build_optimizer
from infoplane.trainers.settings import TrainingSettings
from infoplane.trainers.task import Task

DEPTHS = (2, 4, 8, 12, 16)
WIDTH, SIZE, CLASSES = 32, 32, 10
VARIANTS = {
    "sgd": {},
    "sgd-checkpoint": {},
    "sgd-accumulate": {},
    "greedy-ce linear": {"aux": "linear"},
    "greedy-ce conv:1": {"aux": "conv:1"},
    "greedy-ce conv:1 in 4": {"aux": "conv:1", "blocks": 4, "group": "memory"},
    "greedy-dib conv:1": {"aux": "conv:1"},
}
HERE = Path(__file__).parent


def chain(depth: int, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Equal blocks, global average pooling and a classifier."""
    channels = [input_shape[0], *[WIDTH] * depth]
    blocks = [
        nn.Sequential(nn.Conv2d(below, above, 3, padding=1, bias=False), nn.BatchNorm2d(above), nn.ReLU())
        for below, above in itertools.pairwise(channels)
    ]
    end = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, classes))
    return nn.Sequential(*blocks, end)


# As a user's own networks, by name.
for _depth in DEPTHS:
    globals()[f"chain{_depth}"] = partial(chain, _depth)


def noise(batch: int) -> Dataset:
    """Two batches of random images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2 * batch, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    split = Split(images, torch.arange(2 * batch) % CLASSES)
    spec = DatasetSpec("noise", (3, SIZE, SIZE), CLASSES)
    return Dataset(spec, split, split, torch.full((3,), 0.5), torch.full((3,), 0.25))


def cost_of(model: str, variant: str, dataset: Dataset, device: str) -> Cost:
    """Cost of the second of two steps."""
    name, batch = variant.split()[0], len(dataset.train) // 2
    settings = TrainingSettings(model=model, method=name, batch_size=batch, lr=0.01, **VARIANTS[variant]).resolved()
    torch.manual_seed(0)
    _, units = build_units(settings, Task(CLASSES), dataset.batch(dataset.train, slice(2), "cpu")[0])
    recipe = Recipe(
        optimizer=lambda parameters: build_optimizer("sgd", parameters, 0.01, 0.9, 5e-4),
        lr=0.01,
        lr_factor=lambda step: 1.0,
        batch_size=batch,
        seed=0,
        micro_batches=settings.micro_batches or 1,
    )
    units = [unit.to(device) for unit in units]
    loop = Loop(units, stages("simultaneous", len(units), 2), recipe, dataset.to(device))
    loop.run(lambda step: False, lambda: None, lambda: None)
    return loop.costs[0]


def measure(batch: int, device: str) -> pd.DataFrame:
    """One row per network and method: `network`, `blocks`, `variant`, `peak_bytes`, `saved_bytes`, `flops`."""
    dataset = noise(batch)
    networks = {f"chain of {k}": (f"{Path(__file__).stem}:chain{k}", float(k)) for k in DEPTHS}
    networks |= {"VGG-11": ("vgg11", float("nan")), "VGG-16": ("vgg16", float("nan"))}
    rows = []
    for network, (model, blocks) in networks.items():
        for variant in VARIANTS:
            if VARIANTS[variant].get("blocks", 0) > blocks + 1:
                continue
            cost = cost_of(model, variant, dataset, device)
            sizes = {"peak_bytes": cost.peak, "saved_bytes": cost.saved, "flops": cost.flops}
            rows.append({"network": network, "blocks": blocks, "variant": variant, **sizes})
    return pd.DataFrame(rows)


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table for people, with peaks and operations as shares of those of SGD."""
    sgd = table[table["variant"] == "sgd"].set_index("network")
    peak, flops = (table[name] / table["network"].map(sgd[name]) for name in ("peak_bytes", "flops"))
    saved = [f"{value / MIB:.1f}" if pd.notna(value) else "–" for value in table["saved_bytes"]]
    columns = {
        "network": table["network"],
        "method": table["variant"],
        "peak [MiB]": [f"{value / MIB:.1f}" for value in table["peak_bytes"]],
        "of SGD's": [f"{100 * value:.0f} %" for value in peak],
        "kept for backward [MiB]": saved,
        "operations of a step [10⁹]": [f"{value / 1e9:.1f}" for value in table["flops"]],
        "of SGD's ": [f"{100 * value:.0f} %" for value in flops],
    }
    return pd.DataFrame(columns)


def main() -> None:
    """Measures, prints the table, writes it and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=HERE / "memory.md")
    parser.add_argument("--figure", type=Path, default=HERE.parent / "docs" / "images" / "memory-depth")
    given = parser.parse_args()
    table = measure(given.batch, given.device)
    text = markdown(shown(table))
    print(text)
    where = (
        f"batch {given.batch}, {SIZE}×{SIZE}, on {given.device} (torch {torch.__version__}, {platform.machine()})"
    )
    given.output.write_text(f"{INTRODUCTION.format(where=where)}\n{text}\n", encoding="utf-8")
    caption = CAPTION.format(where=f"batch {given.batch}, {SIZE}×{SIZE}, on {given.device}", width=WIDTH)
    for path in save(memory_over_depth(table, caption), given.figure, table, force=True):
        print(path)


INTRODUCTION = """# Memory of one training step over depth

`python benchmarks/memory.py`: {where}.
Peak: the most bytes of tensors that one step (forward, backward, optimiser) holds at once, beyond parameters,
optimiser state and data. `in 4`: units merged to 4 blocks of about equal memory.
`sgd-accumulate` cuts the batch into 4 parts, so batch norm sees a quarter of it. What checkpointing keeps for the
backward pass cannot be seen. The figure is [memory-depth.png](../docs/images/memory-depth.png).
"""
CAPTION = (
    "The most that one training step holds at once beyond parameters, optimiser state and data: {where}. Left: "
    "chains of equal blocks (3×3 convolution of {width} channels, batch norm, ReLU). conv:1, linear: auxiliary "
    "classifiers. in 4: units merged to 4 blocks of about equal memory. sgd-accumulate: a batch in 4 parts."
)


if __name__ == "__main__":
    main()
