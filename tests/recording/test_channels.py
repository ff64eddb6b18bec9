import json

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from infoplane import Recorder, gram_matrix, open_run, renyi_entropy
from infoplane.errors import InfoplaneError
from infoplane.estimators.engine.estimate import estimate_run
from infoplane.estimators.feature_maps import interaction_table
from infoplane.estimators.renyi import RenyiSettings
from infoplane.recording.layers import natural_layers


class Mixer(nn.Module):
    """A block of MLP-Mixer: its first part reads the tokens of each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.tokens = nn.LayerNorm(6), nn.Sequential(nn.Linear(5, 9), nn.GELU(), nn.Linear(9, 5))
        self.features = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 6))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return x + self.features(x)


class Backwards(nn.Module):
    """A convolution between permutations, as ConvNeXt's blocks have it the other way round."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class Permuting(nn.Conv2d):
    """A convolution of images channels-last."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class OverTime(nn.Module):
    """A linear layer over the times of what a convolution gives."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.time, self.out = nn.Conv1d(4, 5, 3, padding=1), nn.Linear(8, 8), nn.Linear(40, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.time(torch.relu(self.conv(x)))).flatten(1))


NETWORKS = {
    "swin": (SwinTransformer([2, 2], 8, [1, 1], [1, 1], [4, 4], num_classes=3), (3, 32, 32), [2, 2, 2, 2, 0]),
    "convnext": (ConvNeXt([CNBlockConfig(8, None, 2)], num_classes=3), (3, 16, 16), [0, 0, 0, 0]),
    "vit": (VisionTransformer(16, 8, 1, 2, 16, 32, num_classes=3), (3, 16, 16), [0, 1, 0]),
    "lstm": (nn.Sequential(nn.LSTM(6, 7, batch_first=True)), (5, 6), [1]),
    "mixer": (nn.Sequential(Mixer(), Mixer(), nn.Flatten(), nn.Linear(30, 3)), (5, 6), [1, 1, 0]),
    "conv": (nn.Sequential(nn.Conv1d(5, 4, 3), nn.BatchNorm1d(4), nn.ReLU()), (5, 6), [0]),
    "permuting": (
        nn.Sequential(Permuting(3, 4, 3, padding=1), nn.LayerNorm(4), nn.Flatten(), nn.Linear(80, 2)),
        (4, 5, 3),
        [2, 0],
    ),
    "over time": (OverTime(), (4, 8), [0, 0, 0]),
    "backwards": (nn.Sequential(Backwards(), nn.LayerNorm(4), nn.Flatten(), nn.Linear(80, 2)), (4, 5, 3), [2, 0]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_modules_tell_the_axis_of_the_channels(name):
    model, shape, expected = NETWORKS[name]
    layers = natural_layers(model, torch.randn(3, *shape))
    assert [layer.port.channels for layer in layers] == expected, [(layer.name, layer.shape) for layer in layers]


def test_channels_that_come_last_are_the_maps_and_what_the_multivariate_kernel_takes(tmp_path):
    torch.manual_seed(0)
    x, y = torch.randn(40, 4, 5, 3), torch.arange(40) % 2
    model = NETWORKS["backwards"][0]
    with Recorder(model, (x, y), tmp_path / "run.h5", keep="activations") as recorder:
        recorder.snapshot(0)
    with open_run(tmp_path / "run.h5") as run:
        (first, _) = run.layers
        assert (first.shape, first.channels) == ((4, 5, 4), 2)
        values = run.snapshots[0].activations(first.name)
        found = estimate_run(run, RenyiSettings(kernel="multivariate")).set_index("layer")
    gram = np.prod([gram_matrix(values[..., k].reshape(40, -1)) * 40 for k in range(4)], axis=0) / 40
    assert found.loc[first.name, "S_T"] == pytest.approx(renyi_entropy(gram, 1.0), abs=1e-6)
    table = interaction_table(tmp_path / "run.h5", pairs=3)
    assert (table["layer"].tolist(), table["channels"].tolist()) == ([first.name], [4])
    assert table["maps"].tolist() == [4]


def test_a_file_says_where_the_channels_are(tmp_path):
    x, y = torch.randn(20, 5, 6), torch.arange(20) % 2
    with Recorder(NETWORKS["mixer"][0], (x, y), tmp_path / "run.h5") as recorder:
        recorder.snapshot(0)
    with h5py.File(tmp_path / "run.h5", "r+") as file:
        assert json.loads(file.attrs["channels"]) == [1, 1, 0]
        file.attrs["channels"] = json.dumps([2, 1, 0])
    with pytest.raises(InfoplaneError, match="attribute 'channels' of / names no axis of each layer"):
        open_run(tmp_path / "run.h5")
    with h5py.File(tmp_path / "run.h5", "r+") as file:
        del file.attrs["channels"]  # as files of older versions are
        file.attrs["positions"] = json.dumps([0, None, None])
    with open_run(tmp_path / "run.h5") as run:
        assert [layer.channels for layer in run.layers] == [1, 0, 0]
