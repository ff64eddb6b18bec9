"""Networks by name: built in, from torchvision, or the user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from infoplane.errors import InfoplaneError, unknown, with_type
from infoplane.recording.layers import eval_mode, tensor_of
from infoplane.user_code import TORCHVISION, call_user, names_code

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "celu": nn.CELU,
    "mish": nn.Mish,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "leaky_relu": nn.LeakyReLU,
    "relu6": nn.ReLU6,
    "hardtanh": nn.Hardtanh,
    "hardsigmoid": nn.Hardsigmoid,
    "hardswish": nn.Hardswish,
    "identity": nn.Identity,
}
# Widths of the hidden layers of the models in which they can be chosen.
WIDTHS: dict[str, tuple[int, ...]] = {"mlp": (256, 128, 64, 32), "chain": (16,) * 10}
# Channels of the 3x3 convolutions; "M" halves the image (Simonyan and Zisserman 2015, configurations A and D; vgg6
# and vgg9 are small ones for images from 8x8 on).
_VGG_PLANS: dict[str, tuple[int | str, ...]] = {
    "vgg6": (32, 64, "M", 128, 128, "M", 128, "M"),
    "vgg9": (16, 16, 32, "M", 32, 32, 64, "M", 64, 64, "M"),
    "vgg11": (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "vgg16": (64, 64, "M", 128, 128, "M", *(256,) * 3, "M", *(512,) * 3, "M", *(512,) * 3, "M"),
}
Shape = tuple[int, ...]
Activation = Callable[[], nn.Module]


def model_names() -> list[str]:
    """The names that `build_model` knows: the built-in networks, then the classification models of torchvision.

    A torchvision model whose name a built-in network bears has the prefix `torchvision:`.
    """
    return [*_BUILT_IN, *((TORCHVISION + n if n in _BUILT_IN else n) for n in _torchvision_names())]


def input_channels(name: str, channels: int) -> int:
    """Channels of the images a model takes: 3 for those of torchvision, else as many as the data have."""
    return 3 if _is_torchvision(name) else channels


def build_model(
    name: str,
    input_shape: Shape,
    classes: int,
    *,
    widths: Sequence[int] | None = None,
    activation: str = "relu",
    example: Tensor | None = None,
) -> nn.Module:
    """A network with random weights, from the global random state, that is known to take the inputs.

    Args:
        name: One of `model_names()`, or `package.module:function` for the user's own; the function is called
            with `input_shape` and `classes` if it has parameters of these names.
        input_shape: Shape of one input, (C, H, W) or (d,).
        classes: Number of logits.
        widths: Widths of the hidden layers of `mlp`, (256, 128, 64, 32) if left out, or channels of the equal
            convolutions of `chain`, ten times 16.
        activation: A key of `ACTIVATIONS`, for `mlp` and `cnn`.
        example: Inputs (n, *input_shape) that the network must take, such as tokens; zeros if left out.

    Raises:
        InfoplaneError: The name is unknown, an option does not belong to the model, the user's function fails, or
            the model does not map inputs of this shape to logits of all classes.
    """
    options = _options(name, widths, activation)
    try:
        if name in _BUILT_IN:
            model = _BUILT_IN[name](input_shape, classes, **options)
        elif _is_torchvision(name):
            model = _from_torchvision(name.removeprefix(TORCHVISION), input_shape, classes)
        elif names_code(name):
            model = _from_user(name, input_shape, classes)
        else:
            raise unknown("model", name, model_names())
        _check(model, torch.zeros(2, *input_shape) if example is None else example, classes)
    except InfoplaneError:
        raise
    except Exception as error:  # a network that meets a wrong shape raises whatever its layers do
        raise InfoplaneError(
            f"model '{name}' does not take inputs of {'×'.join(map(str, input_shape))}: {with_type(error, 200)}; "
            f"{_advice(name, input_shape, example)}"
        ) from error
    return model


def _options(name: str, widths: Sequence[int] | None, activation: str) -> dict[str, Any]:
    """The options of a built-in model; refused where they would be ignored."""
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    if widths is not None and name not in WIDTHS:
        raise InfoplaneError(
            f"widths are for the models {' and '.join(WIDTHS)}, not for '{name}'; leave out `widths`"
        )
    if widths is not None and (not widths or min(widths) < 1):
        raise InfoplaneError(f"widths {list(widths)} are impossible; give one or more positive numbers")
    if widths is not None and name == "chain" and len(set(widths)) > 1:
        raise InfoplaneError(f"the layers of 'chain' are equal, not {list(widths)}; repeat one of these widths")
    options: dict[str, Any] = {"widths": widths or WIDTHS[name]} if name in WIDTHS else {}
    if name not in ("mlp", "cnn"):
        if activation != "relu":
            raise InfoplaneError(
                f"the activation of model '{name}' cannot be chosen; leave out `activation` or use mlp or cnn"
            )
        return options
    return options | {"activation": ACTIVATIONS[activation]}


def _check(model: nn.Module, example: Tensor, classes: int) -> None:
    with eval_mode(model), torch.no_grad():
        logits = tensor_of(model(example))
    if not logits.is_floating_point():
        raise ValueError(f"it gives outputs of {logits.dtype} where logits are expected")
    if logits.shape != (len(example), classes):
        raise ValueError(f"it gives outputs of {tuple(logits.shape[1:])} where {classes} logits are expected")


def _advice(name: str, input_shape: Shape, example: Tensor | None) -> str:
    """Advice on a model that refuses the inputs."""
    if names_code(name):
        return "mend it, or give it what it takes"
    if example is not None and not example.is_floating_point():
        return "tokens need a network of your own with an embedding; give numbers as fractions, such as float32"
    if len(input_shape) != 3:
        return "try `model='mlp'`"
    usual = 224 if _is_torchvision(name) else 32
    return "try `model='cnn'`" if usual in input_shape[1:] else f"try `image_size={usual}` or `model='cnn'`"


# Built-in networks: a unit is a Sequential whose last child is what is recorded.


def _conv(
    inputs: int, outputs: int, *, stride: int = 1, activation: Activation | None = nn.ReLU
) -> list[nn.Module]:
    """3x3 convolution, normalisation and activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return [*layers, activation()] if activation else layers


def _mlp(input_shape: Shape, classes: int, widths: Sequence[int], activation: Activation) -> nn.Module:
    model = nn.Sequential()
    model.add_module("flatten", nn.Flatten())
    sizes = [int(torch.Size(input_shape).numel()), *widths]
    for number, (inputs, outputs) in enumerate(pairwise(sizes), 1):
        model.add_module(f"fc{number}", nn.Sequential(nn.Linear(inputs, outputs), activation()))
    model.add_module("logits", nn.Linear(sizes[-1], classes))
    return model


def _cnn(input_shape: Shape, classes: int, activation: Activation) -> nn.Module:
    """Four convolutions and a hidden layer, for images of any size from 8x8 on."""
    conv = partial(_conv, activation=activation)
    model = nn.Sequential()
    model.add_module("conv1", nn.Sequential(*conv(_channels(input_shape), 16)))
    model.add_module("conv2", nn.Sequential(*conv(16, 32), nn.MaxPool2d(2)))
    model.add_module("conv3", nn.Sequential(*conv(32, 32)))
    model.add_module("conv4", nn.Sequential(*conv(32, 64), nn.MaxPool2d(2)))
    model.add_module("pool", nn.AdaptiveAvgPool2d(2))
    model.add_module("flatten", nn.Flatten())
    model.add_module("fc1", nn.Sequential(nn.Linear(256, 64), activation()))
    model.add_module("logits", nn.Linear(64, classes))
    return model


def _lenet5(input_shape: Shape, classes: int) -> nn.Module:
    """LeNet-5 (LeCun et al. 1998) for images of 28x28 or 32x32, with tanh and average pooling."""
    if input_shape[1:] not in ((28, 28), (32, 32)):
        raise ValueError("it is made for images of 28×28 or 32×32")
    padding = (32 - input_shape[1]) // 2
    first = nn.Conv2d(_channels(input_shape), 6, 5, padding=padding)
    model = nn.Sequential()
    model.add_module("conv1", nn.Sequential(first, nn.Tanh(), nn.AvgPool2d(2)))
    model.add_module("conv2", nn.Sequential(nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)))
    model.add_module("flatten", nn.Flatten())
    model.add_module("fc1", nn.Sequential(nn.Linear(400, 120), nn.Tanh()))
    model.add_module("fc2", nn.Sequential(nn.Linear(120, 84), nn.Tanh()))
    model.add_module("logits", nn.Linear(84, classes))
    return model


def _vgg(input_shape: Shape, classes: int, plan: Sequence[int | str]) -> nn.Module:
    """VGG with batch normalisation and one linear layer as its head, as is usual for 32x32 images."""
    model = nn.Sequential()
    channels, number = _channels(input_shape), 0
    for step, following in pairwise([*plan, None]):
        if not isinstance(step, int):
            continue  # pooling belongs to the convolution before it
        number += 1
        pool = [nn.MaxPool2d(2)] if following == "M" else []
        model.add_module(f"conv{number}", nn.Sequential(*_conv(channels, step), *pool))
        channels = step
    model.add_module("pool", nn.AdaptiveAvgPool2d(1))
    model.add_module("flatten", nn.Flatten())
    model.add_module("logits", nn.Linear(channels, classes))
    return _he_initialised(model)


def _chain(input_shape: Shape, classes: int, widths: Sequence[int]) -> nn.Module:
    """Equal 3x3 convolutions, one after another, on maps of one size, so that layers differ in their depth alone.

    Width, pooling and depth change together in other networks. A stem brings the image to the maps, which are half
    as high and wide where it is larger than 8x8. Batch normalisation is needed: without it ten convolutions of 16
    channels hardly learn the digits.
    """
    stem = _conv(_channels(input_shape), widths[0], stride=2 if max(input_shape[1:]) > 8 else 1)
    model = nn.Sequential()
    model.add_module("stem", nn.Sequential(*stem))
    for number, width in enumerate(widths, 1):
        model.add_module(f"conv{number}", nn.Sequential(*_conv(width, width)))
    model.add_module("pool", nn.AdaptiveAvgPool2d(1))
    model.add_module("flatten", nn.Flatten())
    model.add_module("logits", nn.Linear(widths[-1], classes))
    return _he_initialised(model)


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut (He et al. 2016): relu(residual(x) + shortcut(x)).

    Where the shape changes the shortcut is a 1x1 convolution with normalisation (option B).
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *_conv(inputs, outputs, stride=stride), *_conv(outputs, outputs, activation=None)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The block's output (n, outputs, h, w)."""
        result: Tensor = self.relu(self.residual(x) + self.shortcut(x))
        return result


def _resnet(input_shape: Shape, classes: int, widths: Sequence[int], blocks: int) -> nn.Module:
    """ResNet for 32x32 images: a 3x3 convolution without pooling, then a stage of blocks for each width."""
    model = nn.Sequential()
    model.add_module("conv1", nn.Sequential(*_conv(_channels(input_shape), widths[0])))
    inputs = widths[0]
    for number, width in enumerate(widths, 1):
        strides = [1 if number == 1 else 2] + [1] * (blocks - 1)
        stage = [ResidualBlock(inputs if i == 0 else width, width, stride) for i, stride in enumerate(strides)]
        model.add_module(f"layer{number}", nn.Sequential(*stage))
        inputs = width
    model.add_module("pool", nn.AdaptiveAvgPool2d(1))
    model.add_module("flatten", nn.Flatten())
    model.add_module("logits", nn.Linear(inputs, classes))
    return _he_initialised(model)


def _channels(input_shape: Shape) -> int:
    if len(input_shape) != 3:
        raise ValueError("it takes images")
    return input_shape[0]


def _he_initialised(model: nn.Module) -> nn.Module:
    """Convolutions from N(0, 2 / fan-out) (He et al. 2015)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


_BUILT_IN: dict[str, Callable[..., nn.Module]] = {
    "mlp": _mlp,
    "cnn": _cnn,
    "chain": _chain,
    "lenet5": _lenet5,
    "vgg6": partial(_vgg, plan=_VGG_PLANS["vgg6"]),
    "vgg9": partial(_vgg, plan=_VGG_PLANS["vgg9"]),
    "vgg11": partial(_vgg, plan=_VGG_PLANS["vgg11"]),
    "vgg16": partial(_vgg, plan=_VGG_PLANS["vgg16"]),
    "resnet18": partial(_resnet, widths=(64, 128, 256, 512), blocks=2),
    "resnet20": partial(_resnet, widths=(16, 32, 64), blocks=3),
    "resnet32": partial(_resnet, widths=(16, 32, 64), blocks=5),
}


# Networks of torchvision and of the user.


def _torchvision_names() -> list[str]:
    import torchvision.models

    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def _is_torchvision(name: str) -> bool:
    if name.startswith(TORCHVISION):
        return True
    return name not in _BUILT_IN and ":" not in name and name in _torchvision_names()


def _from_torchvision(name: str, input_shape: Shape, classes: int) -> nn.Module:
    import torchvision.models

    if name not in _torchvision_names():
        raise unknown("torchvision model", name, _torchvision_names())
    if _channels(input_shape) != 3:
        raise ValueError("it takes images of 3 channels")
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": True}
    elif name.startswith("vit_"):
        options = {"image_size": input_shape[1]}
    elif name.startswith("maxvit"):
        options = {"input_size": input_shape[1:]}
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes, **options)
    return model


def _from_user(name: str, input_shape: Shape, classes: int) -> nn.Module:
    """The network that a function of the user's makes."""
    model = call_user(name, "model", {"input_shape": input_shape, "classes": classes})
    if not isinstance(model, nn.Module):
        raise InfoplaneError(f"'{name}' gave a {type(model).__name__}; it should return a torch.nn.Module")
    return model
