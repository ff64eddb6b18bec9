"""A plane that grows while a network trains."""

import pytest
import torch
from torch import nn

import infoplane as ip
from infoplane.estimators.renyi import RenyiSettings


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 2))


@pytest.fixture
def probe():
    x = torch.randn(60, 20, generator=torch.Generator().manual_seed(1))
    return x, (x[:, 0] > 0).long()


def test_it_says_what_a_recording_and_its_estimates_say(network, probe, tmp_path):
    plane = ip.InformationPlane(network, probe, bandwidth="knn:10")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    with ip.Recorder(network, probe, tmp_path / "beside.h5") as recorder:
        for step in range(3):
            plane.update(loss=float(step))
            recorder.snapshot(step, loss=float(step))
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(probe[0]), probe[1]).backward()
            optimizer.step()
    expected = ip.information_plane(tmp_path / "beside.h5", bandwidth="knn:10")
    columns = ["layer", "step", "I_XT", "I_TY"]
    assert plane.compute().table[columns].equals(expected.table[columns])
    assert plane.compute().metrics["loss"].tolist() == [0, 1, 2]
    last = expected.table[expected.table["step"] == 2].set_index("layer")
    assert plane.values() == {
        f"{name}/{layer}": last.loc[layer, name] for name in ("I_XT", "I_TY") for layer in last.index
    }
    assert plane.plot().axes
    plane.close()


def test_reset_forgets(network, probe, tmp_path):
    plane = ip.InformationPlane(network, probe, path=tmp_path / "kept.h5")
    plane.update()
    plane.update()
    plane.reset()
    with pytest.raises(ip.InfoplaneError, match="holds no finished snapshot"):
        plane.compute()
    plane.update(step=7)
    assert plane.newest()["step"].unique().tolist() == [7]
    plane.close()
    assert (tmp_path / "kept.h5").exists()


def test_the_arguments_of_recorder_and_estimators(network, probe):
    with pytest.raises(ip.InfoplaneError, match="neighbours"):
        ip.InformationPlane(network, probe, neighbours=3)
    plane = ip.InformationPlane(network, probe, ["2"], estimator="ksg", recording={"keep": "activations"})
    plane.update()
    assert set(plane.values()) == {"I_XT/2", "I_TY/2"}
    plane.close()


def test_steps_go_on_from_the_last_and_epochs_are_kept(network, probe):
    plane = ip.InformationPlane(network, probe)
    plane.update()
    plane.update(step=100, epoch=1.5, loss=0.5)
    plane.update()
    assert plane.compute().metrics["step"].tolist() == [0, 100, 101]
    assert plane.compute().metrics["epoch"].tolist()[1] == 1.5
    plane.close()
    plane.close()


def test_options_beside_settings_are_refused(network, probe):
    with pytest.raises(ip.InfoplaneError, match="`alpha` has no place beside the settings"):
        ip.InformationPlane(network, probe, estimator=RenyiSettings(), alpha=2.0)
