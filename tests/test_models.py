import sys

import pytest
import torch
from torch import nn

from infoplane.data import load_dataset
from infoplane.errors import InfoplaneError
from infoplane.models import ACTIVATIONS, build_model, input_channels, model_names
from infoplane.recording.layers import eval_mode


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("mlp", (12,), 2),
        ("mlp", (1, 8, 8), 10),
        ("cnn", (1, 8, 8), 10),
        ("cnn", (3, 64, 64), 43),
        ("chain", (1, 8, 8), 10),
        ("chain", (3, 16, 16), 43),
        ("lenet5", (1, 28, 28), 10),
        ("lenet5", (3, 32, 32), 10),
        ("vgg6", (1, 8, 8), 10),
        ("vgg6", (3, 16, 16), 43),
        ("vgg6", (3, 32, 32), 10),
        ("vgg9", (3, 16, 16), 10),
        ("vgg11", (3, 32, 32), 100),
        ("resnet20", (1, 8, 8), 10),
    ],
)
def test_shapes(name, shape, classes):
    model = build_model(name, shape, classes)
    assert model.training
    assert model(torch.randn(3, *shape)).shape == (3, classes)


def test_parameter_counts():
    # He et al. 2016 give 0.27 M and 0.46 M for depths 20 and 32, LeCun et al. about 60,000.
    assert parameters(build_model("resnet20", (3, 32, 32), 10)) == 272_474
    assert parameters(build_model("resnet32", (3, 32, 32), 10)) == 466_906
    assert parameters(build_model("lenet5", (1, 28, 28), 10)) == 61_706
    convolutions = 9 * (3 * 32 + 32 * 64 + 64 * 128 + 2 * 128 * 128)
    norms, logits = 2 * (32 + 64 + 3 * 128), 128 * 10 + 10
    assert parameters(build_model("vgg6", (3, 32, 32), 10)) == convolutions + norms + logits
    assert parameters(build_model("mlp", (12,), 2, widths=(10, 7, 5, 4, 3))) == 130 + 77 + 40 + 24 + 15 + 8
    assert 40_000 < parameters(build_model("cnn", (1, 8, 8), 10)) < 100_000


def test_blocks_of_the_small_vgg():
    model = build_model("vgg6", (3, 16, 16), 10)
    shapes, x = {}, torch.zeros(1, 3, 16, 16)
    with eval_mode(model):
        for name, block in model.named_children():
            x = block(x)
            shapes[name] = tuple(x.shape[1:])
    assert [shapes[f"conv{number}"] for number in range(1, 6)] == [
        (32, 16, 16),
        (64, 8, 8),
        (128, 8, 8),
        (128, 4, 4),
        (128, 2, 2),
    ]
    assert list(shapes)[5:] == ["pool", "flatten", "logits"]
    with pytest.raises(InfoplaneError, match="'vgg6' does not take inputs of 3×4×4"):
        build_model("vgg6", (3, 4, 4), 10)


@pytest.mark.parametrize(("shape", "maps"), [((1, 8, 8), (8, 8)), ((3, 16, 16), (8, 8)), ((3, 28, 20), (14, 10))])
def test_all_convolutions_of_a_chain_are_equal(shape, maps):
    model = build_model("chain", shape, 10, widths=(12,) * 4)
    convolutions = [getattr(model, f"conv{number}") for number in range(1, 5)]
    assert [parameters(one) for one in convolutions] == [9 * 12 * 12 + 2 * 12] * 4
    x = model.stem(torch.randn(6, *shape))
    for one in convolutions:
        assert x.shape == (6, 12, *maps)
        x = one(x)
        assert (x >= 0).all()
    assert not hasattr(model, "conv5")
    assert model.logits(x.mean((2, 3))).shape == (6, 10)


def test_the_weights_of_a_chain_have_the_variance_of_he():
    model = build_model("chain", (3, 16, 16), 10)
    weights = torch.cat([getattr(model, f"conv{number}")[0].weight.flatten() for number in range(1, 11)])
    assert weights.std().item() == pytest.approx((2 / (9 * 16)) ** 0.5, rel=0.05)


def test_same_seed_same_weights():
    torch.manual_seed(3)
    first = build_model("cnn", (1, 8, 8), 10).state_dict()
    torch.manual_seed(3)
    second = build_model("cnn", (1, 8, 8), 10).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(("name", "epochs"), [("cnn", 8), ("chain", 20)])
def test_it_learns_digits(tmp_path, name, epochs):
    torch.manual_seed(0)
    data = load_dataset("digits", tmp_path)
    model = build_model(name, data.spec.shape, 10)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    for _ in range(epochs):
        for indices in torch.randperm(len(data.train)).split(64):
            inputs, labels = data.batch(data.train, indices, "cpu")
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    inputs, labels = data.batch(data.test, slice(None), "cpu")
    with eval_mode(model), torch.no_grad():
        assert (model(inputs).argmax(1) == labels).float().mean() > 0.96


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation):
    model = build_model("mlp", (4,), 2, widths=(3,), activation=activation)
    assert type(model.fc1[1]) is ACTIVATIONS[activation]


def test_torchvision_models():
    names = model_names()
    assert names[:2] == ["mlp", "cnn"]
    assert "alexnet" in names
    assert "torchvision:resnet18" in names
    assert len(set(names)) == len(names)
    assert build_model("squeezenet1_1", (3, 32, 32), 7)(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    stem = build_model("torchvision:resnet18", (3, 32, 32), 7).conv1
    assert stem.kernel_size == (7, 7)


def test_input_channels():
    assert input_channels("alexnet", 1) == 3
    assert input_channels("torchvision:resnet18", 1) == 3
    assert input_channels("resnet18", 1) == 1
    assert input_channels("package.module:function", 1) == 1


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("vgg99", (3, 32, 32), 10), {}, "unknown model 'vgg99'; did you mean"),
        (("torchvision:resnet19", (3, 32, 32), 10), {}, "unknown torchvision model 'resnet19'; did you mean"),
        (("mlp", (4,), 2), {"activation": "rellu"}, "unknown activation 'rellu'; did you mean relu"),
        (("resnet20", (3, 32, 32), 10), {"activation": "tanh"}, "leave out `activation`"),
        (("cnn", (1, 8, 8), 10), {"widths": (3,)}, "widths are for the models mlp and chain, not"),
        (("mlp", (4,), 2), {"widths": (3, 0)}, "impossible"),
        (("chain", (1, 8, 8), 10), {"widths": (8, 8, 16)}, "the layers of 'chain' are equal"),
        (("chain", (1, 8, 8), 10), {"activation": "tanh"}, "leave out `activation`"),
        (("chain", (12,), 2), {}, "it takes images; try `model='mlp'`"),
        (
            ("vgg11", (1, 8, 8), 10),
            {},
            "'vgg11' does not take inputs of 1×8×8: .*; try `image_size=32` or `model='cnn'`",
        ),
        (("lenet5", (1, 8, 8), 10), {}, "28×28 or 32×32; try `image_size=32`"),
        (("alexnet", (3, 32, 32), 10), {}, "try `image_size=224`"),
        (("alexnet", (1, 32, 32), 10), {}, "it takes images of 3 channels"),
        (("resnet20", (12,), 2), {}, "it takes images; try `model='mlp'`"),
    ],
)
def test_errors_in_one_line(arguments, options, message):
    with pytest.raises(InfoplaneError, match=message) as caught:
        build_model(*arguments, **options)
    assert "\n" not in str(caught.value)


USER_CODE = """
from torch import nn

def sized(input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0], classes))

def fixed():
    return nn.Linear(4, 2)

def number():
    return 3

def failing():
    raise KeyError("weights")

def wrong():
    return nn.Linear(4, 5)

def crashing():
    class Net(nn.Module):
        def forward(self, x):
            return self.missing(x)
    return Net()
"""


@pytest.fixture
def user_package(tmp_path, monkeypatch):
    (tmp_path / "own_nets").mkdir()
    (tmp_path / "own_nets" / "__init__.py").write_text("")
    (tmp_path / "own_nets" / "mine.py").write_text(USER_CODE)
    (tmp_path / "own_nets" / "broken.py").write_text("import own_nets_of_nobody\n")
    monkeypatch.chdir(tmp_path)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "own_nets"]:
        del sys.modules[name]


@pytest.mark.usefixtures("user_package")
def test_user_models():
    before = list(sys.path)
    for function in ("sized", "fixed"):
        assert build_model(f"own_nets.mine:{function}", (4,), 2)(torch.zeros(3, 4)).shape == (3, 2)
    assert sys.path == before


@pytest.mark.usefixtures("user_package")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_nets.other:net", "no module 'own_nets.other' in "),
        ("own_nets.broken:net", "importing 'own_nets.broken' raised ModuleNotFoundError: No module named"),
        ("own_nets.mine:size", "unknown function in module 'own_nets.mine' 'size'; did you mean sized"),
        ("own_nets.mine:number", "gave a int; it should return a torch.nn.Module"),
        ("own_nets.mine:failing", "calling 'own_nets.mine:failing' raised KeyError: 'weights'"),
        ("own_nets.mine:wrong", r"outputs of \(5,\) where 2 logits are expected"),
        ("own_nets.mine:crashing", "has no attribute 'missing'"),
    ],
)
def test_user_model_errors(name, message):
    with pytest.raises(InfoplaneError, match=message) as caught:
        build_model(name, (4,), 2)
    assert "\n" not in str(caught.value)
