import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import vgg

from infoplane.errors import InfoplaneError
from infoplane.models import build_model
from infoplane.recording.layers import (
    eval_mode,
    hookable_layers,
    natural_layers,
    natural_of,
    parameter_names,
    select_layers,
    selected_of,
    tensor_of,
)
from infoplane.recording.trace import trace

IMAGES = torch.zeros(2, 3, 32, 32)


def names(model: nn.Module, example: Tensor = IMAGES) -> list[str]:
    return [layer.name for layer in natural_layers(model, example)]


def torchvision_names(model: str, size: int = 64, **options: object) -> list[str]:
    network = torchvision.models.get_model(model, weights=None, num_classes=10, **options)
    return names(network, torch.zeros(2, 3, size, size))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("mlp", "fc1 fc2 fc3 fc4 logits"),
        ("cnn", "conv1 conv2 conv3 conv4 fc1 logits"),
        ("chain", "stem " + " ".join(f"conv{i}" for i in range(1, 11)) + " logits"),
        ("vgg9", " ".join(f"conv{i}" for i in range(1, 9)) + " logits"),
        ("lenet5", "conv1 conv2 fc1 fc2 logits"),
        ("vgg11", " ".join(f"conv{i}" for i in range(1, 9)) + " logits"),
        ("vgg16", " ".join(f"conv{i}" for i in range(1, 14)) + " logits"),
        ("resnet18", "conv1 " + " ".join(f"layer{i}.{j}" for i in range(1, 5) for j in range(2)) + " logits"),
        ("resnet20", "conv1 " + " ".join(f"layer{i}.{j}" for i in range(1, 4) for j in range(3)) + " logits"),
        ("resnet32", "conv1 " + " ".join(f"layer{i}.{j}" for i in range(1, 4) for j in range(5)) + " logits"),
    ],
)
def test_natural_layers_of_built_in_models(model, expected):
    assert names(build_model(model, (3, 32, 32), 10)) == expected.split()


def test_layers_carry_shape_kind_and_calls():
    layers = {
        layer.name: layer for layer in natural_layers(build_model("cnn", (1, 8, 8), 10), torch.zeros(2, 1, 8, 8))
    }
    assert layers["conv1"].shape == (16, 8, 8)
    assert layers["conv4"].shape == (64, 2, 2)
    assert layers["logits"].shape == (10,)
    assert (layers["conv1"].kind, layers["logits"].kind) == ("Sequential", "Linear")
    assert {layer.calls for layer in layers.values()} == {1}


def test_torchvision_resnet_is_recorded_after_the_addition():
    stages = [f"layer{i}.{j}" for i in range(1, 5) for j in range(2)]
    model = torchvision.models.resnet18(num_classes=10)
    assert names(model) == ["maxpool", *stages, "fc"]
    found: dict[str, Tensor] = {}
    block = model.layer2[0]
    block.register_forward_pre_hook(lambda _, inputs: found.update(x=inputs[0].clone()))
    block.register_forward_hook(lambda _, inputs, output: found.update(out=output.clone()))
    with eval_mode(model), torch.no_grad():
        model(torch.randn(2, 3, 32, 32))
        x = found["x"]
        inner = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
        torch.testing.assert_close(found["out"], torch.relu(inner + block.downsample(x)))


def test_vgg_of_torchvision_ends_units_before_the_global_pool():
    # Most of its 130 million weights are in the classifier, whose width says nothing about units.
    with torch.device("meta"):
        network = torchvision.models.vgg11(num_classes=10)
    network.features = vgg.make_layers(vgg.cfgs["A"])
    for index, sizes in ((0, (512 * 49, 8)), (3, (8, 8)), (6, (8, 10))):
        network.classifier[index] = nn.Linear(*sizes)
    expected = [f"features.{i}" for i in (2, 5, 7, 10, 12, 15, 17, 20)]
    assert names(network, torch.zeros(2, 3, 32, 32)) == [*expected, "classifier.1", "classifier.4", "classifier.6"]


def test_squeezenet_ends_with_logits_after_the_pool():
    found = torchvision_names("squeezenet1_1")
    assert found == [f"features.{i}" for i in (2, 3, 4, 6, 7, 9, 10, 11, 12)] + ["classifier"]


def test_preactivation_and_concatenation_of_densenet():
    growth = {"block_config": (1, 2), "growth_rate": 4, "num_init_features": 8}
    model = torchvision.models.DenseNet(**growth, num_classes=10)
    assert names(model) == [
        "features.pool0",
        "features.denseblock1",
        "features.transition1",
        "features.norm5",
        "classifier",
    ]


def test_blocks_of_one_class_are_all_closed():
    expected = [f"features.{i}" for i in range(19)]
    assert torchvision_names("mobilenet_v2") == [*expected, "classifier"]


def test_final_norm_joins_the_last_block_of_a_vision_transformer():
    model = torchvision.models.VisionTransformer(32, 16, 3, 2, 8, 16, num_classes=10)
    blocks = [f"encoder.layers.encoder_layer_{i}" for i in range(2)]
    assert names(model) == ["conv_proj", *blocks, "encoder.ln", "heads"]


class Wrapped(nn.Module):
    """A convolution whose activation is functional, as in torchvision's BasicConv2d."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


class Gated(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.value = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.value(x) * torch.sigmoid(self.gate(x))


class SelfGate(nn.Module):
    """x * sigmoid(x) has two paths, yet as a leaf it is a step of the chain around it."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


def test_functional_activation_is_recorded_through_its_container():
    assert names(nn.Sequential(Wrapped(3, 4), nn.Flatten(), nn.Linear(4096, 10))) == ["0", "2"]


def test_gate_is_one_unit_but_a_gated_activation_is_not():
    model = nn.Sequential(nn.Linear(6, 6), SelfGate(), Gated(6), nn.Dropout(), nn.Linear(6, 2))
    assert names(model, torch.zeros(2, 6)) == ["1", "2", "4"]


def test_chain_container_is_opened_although_blocks_inside_branch():
    class Trunk(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.Sequential(Gated(6), Gated(6))
            self.ln = nn.LayerNorm(6)

        def forward(self, x: Tensor) -> Tensor:
            return self.ln(self.blocks(x + 1))

    assert names(nn.Sequential(Trunk(), nn.Linear(6, 2)), torch.zeros(2, 6)) == ["0.blocks.0", "0.ln", "1"]


def test_a_shared_activation_stands_for_each_unit_by_its_call():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2, self.fc3 = nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 2)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc3(self.relu(self.fc2(self.relu(self.fc1(x)))))

    example = torch.zeros(2, 6)
    assert names(Net(), example) == ["relu#0", "relu#1", "fc3"]
    relu = next(layer for layer in hookable_layers(Net(), example) if layer.name == "relu")
    assert (relu.calls, relu.shape) == (2, (4,))


def test_inplace_first_layer_and_integer_inputs():
    assert names(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 2)), torch.zeros(2, 6)) == ["1"]
    model = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 2))
    assert names(model, torch.zeros(2, 3, dtype=torch.int64)) == ["0", "3", "4"]


def test_weight_parametrizations_are_not_layers():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), nn.ReLU(), nn.Linear(2, 2))
    assert names(model, torch.zeros(2, 2)) == ["1", "2"]
    assert [layer.name for layer in hookable_layers(model, torch.zeros(2, 2))] == ["0", "1", "2"]


def test_tracing_leaves_everything_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(3600, 2))
    model.train()
    model[1].eval()
    buffers = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    with torch.no_grad():
        natural_layers(model, torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model] == [True, False, True, True, True]
    assert all(torch.equal(value, buffers[key]) for key, value in model.state_dict().items())
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_hookable_layers_finish_in_order():
    layers = [layer.name for layer in hookable_layers(build_model("resnet20", (3, 32, 32), 10), IMAGES)]
    assert layers.index("layer1.0.residual") < layers.index("layer1.0.relu") < layers.index("layer1.0")
    assert layers.index("layer1.0") < layers.index("layer1.1") < layers.index("layer1")
    assert "" not in layers


def test_select_by_name_and_pattern():
    model = build_model("cnn", (3, 32, 32), 10)
    chosen = select_layers(model, IMAGES, ["logits", "conv*", "conv1"])
    assert [layer.name for layer in chosen] == ["conv1", "conv2", "conv3", "conv4", "logits"]
    assert select_layers(model, IMAGES) == natural_layers(model, IMAGES)
    with pytest.raises(InfoplaneError, match=r"unknown layer 'logit'; did you mean logits"):
        select_layers(model, IMAGES, ["logit"])


def test_tensor_of():
    one, two = torch.ones(1), torch.ones(2)
    assert tensor_of(one) is one
    assert tensor_of((one, two)) is one
    assert tensor_of([None, two]) is two
    assert tensor_of({"logits": two, "aux": one}) is two
    with pytest.raises(InfoplaneError, match="no tensor"):
        tensor_of("text")


def test_network_without_layers():
    class Plain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2

    with pytest.raises(InfoplaneError, match="no layer to record in Plain"):
        natural_layers(Plain(), torch.zeros(2, 3))


class _Attention(nn.Module):
    """Parameters of its own, a projection that is never called as a module, and one layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(8))
        self.embed = nn.Linear(8, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(self.embed(x + self.shift))
        return self.head(self.attention(h, h, h)[0].mean(1))


def test_parameters_are_shared_out_among_the_layers():
    model, example = _Attention(), torch.randn(2, 5, 8)
    traced = trace(model, example)
    every = parameter_names(traced, selected_of(traced, ["embed", "attention", "head"]))
    assert every == [
        ["embed.weight", "embed.bias"],
        [f"attention.{name}" for name in ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")],
        ["head.weight", "head.bias"],
    ]
    # Without the layer between them the attention goes to the head; after the last layer nothing counts.
    assert parameter_names(traced, selected_of(traced, ["embed", "head"]))[1] == every[1] + every[2]
    assert parameter_names(traced, selected_of(traced, ["embed"])) == every[:1]


@pytest.mark.parametrize("model", ["resnet20", "vgg11"])
def test_units_of_natural_layers_hold_all_parameters(model):
    network = build_model(model, (3, 32, 32), 10)
    traced = trace(network, IMAGES)
    units = parameter_names(traced, natural_of(traced))
    assert [name for unit in units for name in unit] == [name for name, _ in network.named_parameters()]
    assert all(units)


def test_what_ends_a_block_under_another_name_says_so():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.linear = nn.LayerNorm(8), nn.Linear(8, 8)

        def forward(self, x):
            return x + self.linear(self.norm(x))

    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), Block(), Block(), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 2))
    ends = {layer.name: layer.ends for layer in natural_layers(model, torch.randn(3, 4))}
    assert ends == {"1": "", "2": "", "5": "3", "6": ""}


class Cosine(nn.Module):
    """Cosines to vectors of its own in the place of a last module."""

    def __init__(self):
        super().__init__()
        self.body, self.classes = nn.Linear(4, 8), nn.Parameter(torch.randn(3, 8))

    def forward(self, x):
        return 16 * functional.linear(functional.normalize(functional.relu(self.body(x))), self.classes)


class TiedLanguage(nn.Module):
    """The words once more as the last layer."""

    def __init__(self):
        super().__init__()
        self.words, self.body = nn.Embedding(9, 8), nn.Linear(8, 8)

    def forward(self, ids):
        return self.body(self.words(ids))[:, -1] @ self.words.weight.t()


@pytest.mark.parametrize(
    ("model", "example"), [(Cosine, torch.randn(3, 4)), (TiedLanguage, torch.arange(9).reshape(3, 3))]
)
def test_a_head_that_is_no_module_is_warned_of(model, example):
    *others, last = natural_layers(model(), example)
    assert "body is followed in forward by a product with parameters (mm)" in last.warning
    assert not any(layer.warning for layer in others)


def test_scales_and_probabilities_after_the_last_layer_are_no_head():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.scale = nn.Linear(4, 3), nn.Parameter(torch.ones(()))

        def forward(self, x):
            return torch.softmax(self.scale * self.body(x), 1)

    assert [layer.warning for layer in natural_layers(Scaled(), torch.randn(3, 4))] == [""]
