"""The whole configuration of a recorded training run, its defaults, and what is refused of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from infoplane.errors import InfoplaneError, RunFileError, unknown
from infoplane.settings import NOT_NEGATIVE, POSITIVE, Range, at_least, check_settings, setting, settings_of
from infoplane.trainers.methods import METHODS, SGD, Method, method

DATA, MODEL, RECORDING = "Data", "Model", "Recording"
OPTIMISATION, LAYERWISE = "Optimisation", "Layer-wise methods"
# Groups of settings that some methods have: those with local losses, those with auxiliary classifiers, greedy-dib,
# and those that go block by block.
LOCAL, AUXILIARY, DIB, BLOCKWISE = "local", "auxiliary", "greedy-dib", "blockwise"
MI_XT, ENTROPY_T, MI_PREV_T = PENALTIES = ("mi_xt", "entropy_t", "mi_prev_t")
CE, MI_TY, BOTH = FITS = ("ce", "mi_ty", "both")
UNCORRECTED, PERMUTED = CORRECTIONS = ("none", "permuted")
UNPROJECTED, DIRECTIONS, RANDOM, LEARNED = PROJECTIONS = ("none", "directions", "random", "learned")
HELD, FOLLOWING = BANDWIDTH_GRADIENTS = ("none", "scale")
# When a run goes on, where it computes and finds its data may change, its length, and what is recorded beside it.
CHANGEABLE = {"epochs", "data_root", "device", "cache_mib", "synchronous_path"}
# What all methods of a comparison have alike unless they are given something else.
ALIKE: Mapping[str, Any] = {"batch_size": 128, "schedule": "onecycle"}
# Settings that may name code of the user's.
OWN = ("dataset", "model")
_BELOW_ONE = Range("from 0 to below 1", lambda value: 0 <= value < 1)
# The generators of PyTorch on the CPU know no more of a seed than 32 bits.
_SEED = Range("from 0 to below 2^32", lambda value: 0 <= value < 2**32)


def _of_method(name: str, kind_of_value: str, **more: Any) -> Any:
    """A setting of the optimisation that each method has a value of its own for."""
    return setting(None, kind_of_value, OPTIMISATION, unset=f"the method's, sgd {SGD[name]}", **more)


def _of_dib(value: Any, meaning: str, **more: Any) -> Any:
    """A setting that GreedyDIB alone has.

    Those that older run files lack have no value where they are not given, so that old and new runs are comparable.
    """
    return setting(None, f"greedy-dib: {meaning}", LAYERWISE, group=DIB, value=value, **more)


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of a run; its fields are the options of `infoplane record`.

    None stands for the method's own value, which `resolved` fills in; where a method has no such setting it stays.

    Example:
        >>> settings = ip.TrainingSettings(method="greedy-dib", beta=(0.01,), epochs=5)
        >>> settings.resolved().loss_bandwidth
        'knn:10'
    """

    dataset: str = setting(
        "digits",
        "digits, szt, mnist, fashion-mnist, cifar10, cifar100, gtsrb, or your own as package.module:function, "
        "which gives (inputs, labels) twice, for training and for test.",
        DATA,
    )
    data_root: str = setting("data", "Folder of the data sets; missing ones are downloaded into it.", DATA)
    image_size: int | None = setting(
        None,
        "Resize images to this height and width.",
        DATA,
        unset="as published, gtsrb 32",
        range=at_least(4),
    )
    region: str = setting(
        "whole", "gtsrb: the whole image, or the sign's box cut out.", DATA, choices=("whole", "sign")
    )
    task: str = setting(
        "classes",
        "gtsrb: predict the box of the sign too, by a second head.",
        DATA,
        choices=("classes", "classes+boxes"),
    )
    train_size: int | None = setting(None, "Train on so many samples.", DATA, unset="all", range=at_least(1))
    validation: float = setting(
        0.0,
        "Share of the training split held out (gtsrb: whole tracks); snapshots are then scored on it, and the test "
        "split once, at the end.",
        DATA,
    )
    label_fraction: float | None = setting(
        None,
        "Train on so large a share of the training split, balanced over the classes; another part for each seed.",
        DATA,
        unset="all",
        range=Range("above 0 and at most 1", lambda value: 0 < value <= 1),
    )
    permute_labels: float = setting(
        0.0,
        "Share of the training labels permuted among themselves; 1 is the control of shuffled labels.",
        DATA,
    )
    label_noise: float | None = setting(
        None,
        "Share of the training and validation labels that are wrong; those of the test split are right.",
        DATA,
        unset="none",
        range=Range("from 0 to 1", lambda value: 0 <= value <= 1),
    )
    label_noise_kind: str | None = setting(
        None,
        "Wrong labels are permuted among each other, or those of the next class.",
        DATA,
        unset="permuted",
        choices=("permuted", "class-dependent"),
    )
    augment: str = setting(
        "none", "Augmentation of training images: none, shift:PIXELS, flip or shift:4,flip.", DATA
    )

    model: str = setting(
        "cnn",
        "mlp, cnn, chain, lenet5, vgg6, vgg9, vgg11, vgg16, resnet18, resnet20, resnet32, any classification model "
        "of torchvision, or your own as package.module:function.",
        MODEL,
    )
    widths: tuple[int, ...] | None = setting(
        None,
        "Layer widths of an mlp; channels of the equal convolutions of a chain: 16,16,16.",
        MODEL,
        unset="the model's",
        form="N,N,...",
    )
    activation: str = setting("relu", "Activation of mlp and cnn, by its name in torch.nn.", MODEL)

    layers: tuple[str, ...] | None = setting(
        None,
        "Layers to record, by name or pattern ('conv*'); see infoplane info --layers.",
        RECORDING,
        unset="natural units",
        form="NAME,...",
    )
    probe_size: int = setting(500, "Samples of the probe, balanced over the classes.", RECORDING, range=at_least(1))
    probe_split: str = setting(
        "test", "Where the probe is from.", RECORDING, choices=("train", "validation", "test", "all")
    )
    snapshots: str = setting(
        "40",
        "How many (log-spaced in steps), '32+8' (and some in the last tenth), 'epochs', or 'every:STEPS'.",
        RECORDING,
    )
    synchronous_path: bool = setting(
        False,
        "Record the straight line from the first to the last weights too, along which all layers advance together, "
        "into RUN.synchronous.h5: a control of the order in which layers settle.",
        RECORDING,
    )
    keep: str = setting(
        "auto",
        "What to store of a layer; auto takes the smaller one.",
        RECORDING,
        choices=("auto", "activations", "distances"),
    )
    eval_size: int = setting(
        2000,
        "Samples of each split on which a snapshot measures loss and accuracy.",
        RECORDING,
        range=at_least(1),
    )

    robustness: bool = setting(
        False,
        "At the end also score test images with added noise, blur and brightness, and how well test images are "
        "told from images of no class.",
        RECORDING,
    )

    method: str = setting("sgd", f"How to train: {', '.join(METHODS)}.", OPTIMISATION)
    epochs: int = setting(
        30, "Length of the training (sequential: of each block).", OPTIMISATION, range=at_least(1)
    )
    lr: float | None = _of_method("lr", "Learning rate.", range=POSITIVE)
    schedule: str | None = _of_method(
        "schedule",
        "Of the learning rate: constant, step:30,60[:0.1], fractions:0.5,0.75[:0.1], cosine, onecycle.",
    )
    optimizer: str | None = _of_method("optimizer", "sgd, adam or adamw.")
    momentum: float | None = _of_method("momentum", "Momentum of sgd, β₁ of adam and adamw.", range=_BELOW_ONE)
    weight_decay: float | None = _of_method("weight_decay", "Weight decay.", range=NOT_NEGATIVE)
    batch_size: int | None = _of_method("batch_size", "Samples of a training step.", range=at_least(1))
    micro_batches: int | None = setting(
        None,
        "Cut each batch into so many parts and add up their gradients.",
        OPTIMISATION,
        unset="1, sgd-accumulate 4",
        range=at_least(1),
    )
    per_class: int | None = setting(
        None,
        "Draw batches in groups of so many samples of one class, for losses that compare samples.",
        OPTIMISATION,
        unset="1, freely shuffled",
        range=at_least(1),
    )
    classifier_loss: str | None = setting(
        None,
        "What classifiers learn by: ce, smoothed:0.1 for smoothed labels, or generalised:0.7, which trusts wrong "
        "labels less.",
        OPTIMISATION,
        unset=CE,
    )
    amp: bool = setting(False, "Forward passes in bfloat16; entropies stay in float32 or better.", OPTIMISATION)
    device: str = setting("auto", "auto, cpu, cuda, cuda:1, ...", OPTIMISATION)
    seed: int = setting(0, "Seed of weights, data order and probe.", OPTIMISATION, range=_SEED)

    order: str | None = setting(
        None,
        "simultaneous: all blocks at each step; sequential: one after another, --epochs each; window:W: W "
        "neighbouring blocks at a time, --epochs each, then those one further up.",
        LAYERWISE,
        group=LOCAL,
        value="simultaneous",
    )
    blocks: int | None = setting(
        None,
        "Merge the natural units into so many blocks.",
        LAYERWISE,
        group=BLOCKWISE,
        unset="natural units",
        range=at_least(1),
    )
    group: str | None = setting(
        None,
        "Merge by number of units, or so that the blocks need about the same memory.",
        LAYERWISE,
        group=BLOCKWISE,
        unset="even",
        choices=("even", "memory"),
    )
    aux: str | None = setting(
        None,
        "Auxiliary classifier: linear, conv:K, mlp-sr, next:D or pool:F.",
        LAYERWISE,
        group=AUXILIARY,
        value="conv:1",
    )
    beta: tuple[float, ...] | None = _of_dib(
        (0.01,),
        "weight of the information term; several: one for each hidden block (in compare, a variant each).",
        form="B,...",
        range=NOT_NEGATIVE,
    )
    beta_schedule: str | None = _of_dib(
        "constant",
        "rising with depth, warming up over the first half of the training, or steered from beta to a target.",
        choices=("constant", "rising", "warmup", "target"),
    )
    target_bits: tuple[float, ...] | None = _of_dib(
        None,
        "bits of the penalised information that beta is steered to; several: one for each hidden block.",
        unset="none",
        form="BITS,...",
        range=NOT_NEGATIVE,
    )
    penalty: str | None = _of_dib("mi_xt", "I(X;T_l), S(T_l) or I(T_{l-1};T_l).", choices=PENALTIES)
    correction: str | None = _of_dib(
        None, "take the permuted null off the penalty.", unset=UNCORRECTED, choices=CORRECTIONS
    )
    fit: str | None = _of_dib(
        None,
        "what fits a block to the targets: cross-entropy, I(T_l;Y) less its permuted null, or both.",
        unset=CE,
        choices=FITS,
    )
    fit_weight: float | None = _of_dib(
        None, "fit both: weight of I(T_l;Y), in bits, beside the cross-entropy.", unset="0.3", range=NOT_NEGATIVE
    )
    fit_bandwidth: str | None = _of_dib(
        None, "kernel width for I(T_l;Y): median:C, knn:K or fixed:S.", unset="median:1"
    )
    fit_projection: str | None = _of_dib(
        None,
        "I(T_l;Y) is of the directions of T_l, of a projection of it with random weights, or of one that is "
        "trained with the block.",
        unset=UNPROJECTED,
        choices=PROJECTIONS,
    )
    loss_alpha: float | None = _of_dib(1.01, "order of the entropies.", range=POSITIVE)
    loss_bandwidth: str | None = _of_dib("knn:10", "kernel width in a batch: knn:K, median:C or fixed:S.")
    loss_bandwidth_gradient: str | None = _of_dib(
        None,
        "none, or scale: kernel widths grow and shrink with the output, so that no loss falls by shrinking it.",
        unset=HELD,
        choices=BANDWIDTH_GRADIENTS,
    )
    loss_every: int | None = _of_dib(1, "the information term enters every so many steps.", range=at_least(1))
    option: tuple[str, ...] = setting(
        (),
        "Other numbers of a method, by name; a wrong name lists them.",
        LAYERWISE,
        unset="as published",
        form="NAME=VALUE,...",
    )
    cache_mib: int | None = setting(
        None,
        "Sequential order without augmentation: memory for the outputs of finished blocks.",
        LAYERWISE,
        group=LOCAL,
        value=1024,
    )

    @classmethod
    def of(cls, config: dict[str, Any]) -> TrainingSettings:
        """The settings that a run file keeps; those that an older infoplane did not know have their defaults.

        Raises:
            RunFileError: The run was not made by `infoplane record`, or a setting has an impossible value.
        """
        if not {"dataset", "model", "epochs", "lr", "optimizer", "snapshots"} <= config.keys():
            raise RunFileError("the run was not made by `infoplane record`, so it cannot go on by itself")
        names = {field.name for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in config.items()
            if name in names
        }
        settings = cls(**values)
        try:
            check_settings(settings)
        except InfoplaneError as error:
            raise RunFileError(f"the run file keeps impossible settings: {error}; record the run again") from error
        return settings

    @classmethod
    def refuse_unknown(cls, names: Iterable[str], whose: str = "setting") -> None:
        """Lets no name pass that is no setting of a training.

        Args:
            names: The names.
            whose: What they are called in the error.

        Raises:
            InfoplaneError: One of them is none, with the nearest names.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in names:
            if name not in known:
                raise unknown(whose, name, known)

    @property
    def how(self) -> Method:
        """The method."""
        return method(self.method)

    def resolved(self) -> TrainingSettings:
        """These settings with every None that the method has a value for filled in.

        Raises:
            InfoplaneError: A setting is impossible, or does not belong to the method.
        """
        check_settings(self)
        how = self.how
        lacking = foreign_groups(how)
        for name, declared in settings_of(type(self)).items():
            if declared.group in lacking and getattr(self, name) is not None:
                raise InfoplaneError(f"method '{self.method}' {lacking[declared.group]}; leave out `{name}`")
        values = {name: d.value for name, d in settings_of(type(self)).items() if d.group not in lacking}
        values |= {"micro_batches": 4 if self.method == "sgd-accumulate" else 1}
        values |= {"group": "even"} if self.blocks else {}
        values |= how.defaults
        filled = dataclasses.replace(self, **{k: v for k, v in values.items() if getattr(self, k) is None})
        _check(filled)
        return filled

    def options(self) -> dict[str, float]:
        """The numbers given by `option`, as NAME=VALUE each.

        Raises:
            InfoplaneError: One is not of this form.
        """
        numbers = {}
        for text in self.option:
            name, _, value = text.partition("=")
            try:
                numbers[name.strip()] = float(value)
            except ValueError:
                raise InfoplaneError(f"option '{text}': write NAME=NUMBER, such as similarity_weight=0.9") from None
        return numbers


def window_of(order: str) -> int | None:
    """How many neighbouring blocks are trained at a time; None for all of them.

    Args:
        order: simultaneous, sequential (one), or window:W.

    Raises:
        InfoplaneError: None of these.
    """
    if order in ("simultaneous", "sequential"):
        return None if order == "simultaneous" else 1
    name, _, width = order.partition(":")
    if name != "window":
        raise unknown("order", order, ("simultaneous", "sequential", "window:2"))
    if not (width.isascii() and width.isdecimal() and int(width) > 0):
        raise InfoplaneError(f"order '{order}': write 'window:2' for two blocks at a time")
    return int(width)


def classifier_loss_of(rule: str | None) -> tuple[str, float]:
    """The loss of classifiers, and its number: ce and 0, smoothed and the share, or generalised and its q.

    Args:
        rule: ce or None, smoothed:SHARE below 1, or generalised:Q up to 1.

    Raises:
        InfoplaneError: None of these.
    """
    if rule in (None, CE):
        return CE, 0.0
    name, _, number = str(rule).partition(":")
    if name not in ("smoothed", "generalised"):
        raise unknown("loss of classifiers", str(rule), (CE, "smoothed:0.1", "generalised:0.7"))
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not (0 < value < 1 or (value == 1 and name == "generalised")):
        raise InfoplaneError(f"loss of classifiers '{rule}': write {name}:0.1, with a number from 0 to 1")
    return name, value


def foreign_groups(how: Method) -> dict[str, str]:
    """The groups of settings that a method does not have, with what it lacks in words.

    Args:
        how: The method.
    """
    reasons = {
        BLOCKWISE: "" if how.local or how.name == "sgd-checkpoint" else "trains the whole network at once",
        LOCAL: "" if how.local else "has no local losses",
        AUXILIARY: "" if how.auxiliary else "has no auxiliary classifiers",
        DIB: "" if how.name == "greedy-dib" else "has no information term; it is greedy-dib's",
    }
    return {group: reason for group, reason in reasons.items() if reason}


def _check(settings: TrainingSettings) -> None:
    """Refuses settings that do not go together."""
    if settings.how.local and int(settings.batch_size or 0) < 2:
        raise InfoplaneError(f"method '{settings.method}' needs `batch_size=2` or more")
    if settings.how.expand and (settings.micro_batches or 1) > 1:
        raise InfoplaneError(f"method '{settings.method}' learns from whole batches; leave out `micro_batches`")
    if settings.order:
        window_of(settings.order)
    classifier_loss_of(settings.classifier_loss)
    if settings.label_noise_kind and settings.label_noise is None:
        raise InfoplaneError("`label_noise_kind` says how labels are wrong; give `label_noise=0.4` too")
    if settings.label_noise and settings.permute_labels:
        raise InfoplaneError("`permute_labels` and `label_noise` both change labels; give one of them")
    if settings.group and not settings.blocks:
        raise InfoplaneError("`group` says how units are merged into so many `blocks`; give both or neither")
    if (settings.beta_schedule == "target") != bool(settings.target_bits):
        raise InfoplaneError("`beta_schedule='target'` steers beta to so many `target_bits`; give both or neither")
    if settings.fit_weight is not None and settings.fit != BOTH:
        raise InfoplaneError("`fit_weight` is the weight of I(T;Y) beside the cross-entropy; give `fit='both'` too")
    for name in ("fit_bandwidth", "fit_projection"):
        if getattr(settings, name) is not None and settings.fit in (None, CE):
            raise InfoplaneError(f"`{name}` is that of I(T;Y); give `fit='mi_ty'` or `fit='both'` too")
