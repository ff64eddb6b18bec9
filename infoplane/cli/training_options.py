"""The settings of a training as options, for `record` and `compare`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from infoplane.cli.options import CommaList

# The names of infoplane.trainers.methods, which would load torch.
METHODS = (
    "sgd, sgd-checkpoint, sgd-accumulate, greedy-ce, greedy-dib, predsim, pred, sim, hsic, phsic, infopro and "
    "forward-forward"
)
OWN = "the method's"
DIB = "greedy-dib: "

DATA = [
    click.option(
        "--dataset", default="digits", help="digits, szt, mnist, fashion-mnist, cifar10, cifar100 or gtsrb."
    ),
    click.option(
        "--data-root", default="data", help="Folder of the data sets; missing ones are downloaded into it."
    ),
    click.option(
        "--image-size",
        type=click.IntRange(4),
        default=None,
        show_default="as published, gtsrb 32",
        help="Resize images to this height and width.",
    ),
    click.option(
        "--region",
        type=click.Choice(["whole", "sign"]),
        default="whole",
        help="gtsrb: the whole image, or the sign's box cut out.",
    ),
    click.option(
        "--task",
        type=click.Choice(["classes", "classes+boxes"]),
        default="classes",
        help="gtsrb: predict the box of the sign too, by a second head.",
    ),
    click.option("--train-size", type=int, default=None, show_default="all", help="Train on so many samples."),
    click.option(
        "--validation",
        type=float,
        default=0.0,
        help="Share of the training split held out (gtsrb: whole tracks); snapshots are then scored on it, and "
        "the test split once, at the end.",
    ),
    click.option(
        "--permute-labels",
        type=float,
        default=0.0,
        help="Share of the training labels permuted among themselves; 1 is the control of shuffled labels.",
    ),
    click.option(
        "--augment",
        default="none",
        help="Augmentation of training images: none, shift:PIXELS, flip or shift:4,flip.",
    ),
]
NETWORK = [
    click.option(
        "--model",
        default="cnn",
        help="mlp, cnn, chain, lenet5, vgg6, vgg9, vgg11, vgg16, resnet18, resnet20, resnet32, any "
        "classification model of torchvision, or your own as package.module:function.",
    ),
    click.option(
        "--widths",
        type=CommaList(int, "N,N,..."),
        default=None,
        show_default="the model's",
        help="Layer widths of an mlp; channels of the equal convolutions of a chain: 16,16,16.",
    ),
    click.option("--activation", default="relu", help="Activation of mlp and cnn, by its name in torch.nn."),
    click.option(
        "--layers",
        type=CommaList(str, "NAME,..."),
        default=None,
        show_default="natural units",
        help="Layers to record, by name or pattern ('conv*'); see infoplane info --layers.",
    ),
    click.option("--probe-size", type=int, default=500, help="Samples of the probe, balanced over the classes."),
    click.option(
        "--probe-split",
        type=click.Choice(["train", "validation", "test", "all"]),
        default="test",
        help="Where the probe is from.",
    ),
    click.option(
        "--snapshots",
        default="40",
        help="How many (log-spaced in steps), '32+8' (and some in the last tenth), 'epochs', or 'every:STEPS'.",
    ),
    click.option(
        "--synchronous-path",
        is_flag=True,
        help="Record the way from the first to the last weights on which all layers keep step too, into "
        "RUN.synchronous.h5: a control of the order in which layers settle.",
    ),
    click.option(
        "--keep",
        type=click.Choice(["auto", "activations", "distances"]),
        default="auto",
        help="What to store of a layer; auto takes the smaller one.",
    ),
    click.option(
        "--eval-size",
        type=int,
        default=2000,
        help="Samples of each split on which a snapshot measures loss and accuracy.",
    ),
]
LOCAL = [
    click.option(
        "--order",
        type=click.Choice(["simultaneous", "sequential"]),
        default=None,
        show_default="simultaneous",
        help="Layer-wise methods: train all blocks at each step, or one after another, --epochs each.",
    ),
    click.option(
        "--blocks",
        type=int,
        default=None,
        show_default="natural units",
        help="Merge the natural units into so many blocks.",
    ),
    click.option(
        "--group",
        type=click.Choice(["even", "memory"]),
        default=None,
        show_default="even",
        help="Merge by number of units, or so that the blocks need about the same memory.",
    ),
    click.option(
        "--aux",
        default=None,
        show_default="conv:1",
        help="Auxiliary classifier: linear, conv:K, mlp-sr, next:D or pool:F.",
    ),
    click.option(
        "--beta",
        type=CommaList(float, "B,..."),
        default=None,
        show_default="0.01",
        help=DIB
        + "weight of the information term; several: one for each hidden block (in compare, a variant each).",
    ),
    click.option(
        "--beta-schedule",
        type=click.Choice(["constant", "rising", "warmup"]),
        default=None,
        show_default="constant",
        help=DIB + "rising with depth, or warming up over the first half of the training.",
    ),
    click.option(
        "--penalty",
        type=click.Choice(["mi_xt", "entropy_t", "mi_prev_t"]),
        default=None,
        show_default="mi_xt",
        help=DIB + "I(X;T_l), S(T_l) or I(T_{l-1};T_l).",
    ),
    click.option(
        "--loss-alpha", type=float, default=None, show_default="1.01", help=DIB + "order of the entropies."
    ),
    click.option(
        "--loss-bandwidth",
        default=None,
        show_default="knn:10",
        help=DIB + "kernel width in a batch: knn:K, median:C or fixed:S.",
    ),
    click.option(
        "--loss-every",
        type=int,
        default=None,
        show_default="1",
        help=DIB + "the information term enters every so many steps.",
    ),
    click.option(
        "--option",
        type=CommaList(str, "NAME=VALUE,..."),
        default=(),
        show_default="as published",
        help="Other numbers of a method, by name; a wrong name lists them.",
    ),
    click.option(
        "--cache-mib",
        type=int,
        default=None,
        show_default="1024",
        help="Sequential order without augmentation: memory for the outputs of finished blocks.",
    ),
]
OPTIMISATION = [
    click.option("--epochs", type=int, default=30, help="Length of the training (sequential: of each block)."),
    click.option("--lr", type=float, default=None, show_default=f"{OWN}, sgd 0.05", help="Learning rate."),
    click.option(
        "--schedule",
        default=None,
        show_default=f"{OWN}, sgd constant",
        help="Of the learning rate: constant, step:30,60[:0.1], fractions:0.5,0.75[:0.1], cosine, onecycle.",
    ),
    click.option("--optimizer", default=None, show_default=f"{OWN}, sgd sgd", help="sgd, adam or adamw."),
    click.option(
        "--momentum",
        type=float,
        default=None,
        show_default=f"{OWN}, sgd 0.9",
        help="Momentum of sgd, β₁ of adam and adamw.",
    ),
    click.option(
        "--weight-decay", type=float, default=None, show_default=f"{OWN}, sgd 0.0005", help="Weight decay."
    ),
    click.option(
        "--batch-size", type=int, default=None, show_default=f"{OWN}, sgd 64", help="Samples of a training step."
    ),
    click.option(
        "--micro-batches",
        type=int,
        default=None,
        show_default="1, sgd-accumulate 4",
        help="Cut each batch into so many parts and add up their gradients.",
    ),
    click.option("--amp", is_flag=True, help="Forward passes in bfloat16; entropies stay in float32 or better."),
    click.option("--device", default="auto", help="auto, cpu, cuda, cuda:1, ..."),
]


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the settings of a training, all but method, seed and output, to a verb."""
    for option in reversed([*DATA, *NETWORK, *OPTIMISATION, *LOCAL]):
        command = option(command)
    return command
