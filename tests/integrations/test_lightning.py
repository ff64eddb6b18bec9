"""A training of Lightning, recorded."""

import doctest
import logging

import pandas as pd
import pytest
import torch
from torch import nn

import infoplane as ip

lightning = pytest.importorskip("lightning.pytorch", reason="Lightning is not installed")
from infoplane.integrations.lightning import RecorderCallback  # noqa: E402

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
pytestmark = pytest.mark.filterwarnings("ignore")
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
X = torch.randn(96, 20, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader():
    dataset = torch.utils.data.TensorDataset(X, Y)
    return torch.utils.data.DataLoader(dataset, batch_size=16, shuffle=True)


def fit(callback=None, **options):
    lightning.seed_everything(0, verbose=False)
    module = Module()
    callbacks = [callback] if callback else []
    trainer = lightning.Trainer(**{"max_epochs": 2, **QUIET, **options}, callbacks=callbacks)
    trainer.fit(module, loader(), ckpt_path=None)
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def steps(path):
    with ip.open_run(path) as run:
        return [snapshot.step for snapshot in run.snapshots]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6, 8, 9, 12]),
        ({"accumulate_grad_batches": 2}, [0, 1, 2, 3, 4, 5, 6]),
        ({"precision": "bf16-mixed"}, [0, 1, 2, 3, 4, 5, 6, 8, 9, 12]),
    ],
)
def test_the_training_ends_with_the_same_weights(tmp_path, options, expected):
    callback = RecorderCallback((X[:40], Y[:40]), tmp_path / "run.h5")
    assert torch.equal(fit(callback, **options), fit(**options))
    assert steps(tmp_path / "run.h5") == expected


def test_metrics_epochs_and_layers(tmp_path):
    fit(RecorderCallback((X[:40], Y[:40]), tmp_path / "run.h5", layers=["net.*"]))
    with ip.open_run(tmp_path / "run.h5") as run:
        assert [layer.name for layer in run.layers] == ["net.0", "net.1", "net.2", "net.3"]
        table = run.metrics.set_index("step")
        assert run.links
    assert table["epoch"].tolist()[:3] == pytest.approx([0, 1 / 6, 2 / 6])
    assert table["epoch"].iloc[-1] == 2
    assert table["train_loss"].iloc[-1] < table["train_loss"].iloc[0]


def test_a_logger_gets_the_informations(tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    callback = RecorderCallback((X[:40], Y[:40]), tmp_path / "run.h5", log=True)
    fit(callback, logger=CSVLogger(tmp_path, name="", version=""))
    written = pd.read_csv(tmp_path / "metrics.csv").set_index("step")
    table = ip.estimate(tmp_path / "run.h5")
    assert len(table) == 10 * table["layer"].nunique()
    for row in table.itertuples():
        assert written.loc[[row.step], f"infoplane/I_XT/{row.layer}"].sum() == pytest.approx(row.I_XT)
        assert written.loc[[row.step], f"infoplane/I_TY/{row.layer}"].sum() == pytest.approx(row.I_TY)


def test_a_training_that_goes_on_goes_on_with_its_file(tmp_path):
    callback = RecorderCallback((X[:40], Y[:40]), tmp_path / "run.h5")
    options = {**QUIET, "enable_checkpointing": True, "default_root_dir": tmp_path}
    lightning.seed_everything(0, verbose=False)
    trainer = lightning.Trainer(max_epochs=1, callbacks=[callback], **options)
    trainer.fit(Module(), loader())
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    again = RecorderCallback((X[:40], Y[:40]), tmp_path / "run.h5")
    trainer = lightning.Trainer(max_epochs=2, callbacks=[again], **options)
    trainer.fit(Module(), loader(), ckpt_path=tmp_path / "one.ckpt")
    assert steps(tmp_path / "run.h5") == [0, 1, 2, 3, 4, 5, 6, 8, 9, 12]


def test_a_training_that_fails_keeps_its_snapshots(tmp_path):
    class Failing(lightning.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 4:
                raise ValueError("a fault of the training")

    callback = RecorderCallback((X[:40], Y[:40]), tmp_path / "run.h5")
    lightning.seed_everything(0, verbose=False)
    trainer = lightning.Trainer(max_epochs=2, callbacks=[callback, Failing()], **QUIET)
    with pytest.raises(ValueError, match="a fault of the training"):
        trainer.fit(Module(), loader())
    assert steps(tmp_path / "run.h5") == [0, 1, 2, 3]


def test_the_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"ip": ip, "x": X[:40], "y": Y[:40], "Trainer": lightning.Trainer, "quiet": {**QUIET}}
    names |= {"module": Module(), "loader": loader(), "RecorderCallback": RecorderCallback}
    [test] = doctest.DocTestFinder(recurse=False).find(RecorderCallback, module=False, globs=names)
    assert doctest.DocTestRunner().run(test).failed == 0


def test_what_a_module_logs_for_its_logger_stops_no_training(tmp_path):
    class Logging(Module):
        def training_step(self, batch, index):
            for name in ("step", "epoch", "self", "loss_sd"):
                self.log(name, 1.0)
            return super().training_step(batch, index)

    callback = RecorderCallback((X[:40], Y[:40]), tmp_path / "run.h5")
    lightning.seed_everything(0, verbose=False)
    lightning.Trainer(max_epochs=1, callbacks=[callback], **QUIET).fit(Logging(), loader())
    with ip.open_run(tmp_path / "run.h5") as run:
        assert run.metrics["step"].tolist() == [0, 1, 2, 3, 4, 5, 6]
        assert {"train_loss"} == {*run.metrics} - {"snapshot", "step", "epoch"}


def test_a_training_that_goes_on_from_an_older_checkpoint_records_its_own_way(tmp_path):
    path, saved = tmp_path / "run.h5", tmp_path / "one.ckpt"
    options = {**QUIET, "enable_checkpointing": True, "default_root_dir": tmp_path}

    def trained(epochs, seed, **more):
        lightning.seed_everything(seed, verbose=False)
        callback = RecorderCallback((X[:40], Y[:40]), path, keep="activations")
        trainer = lightning.Trainer(max_epochs=epochs, callbacks=[callback], **options)
        module = Module()
        trainer.fit(module, loader(), **more)
        return trainer

    trained(1, 0).save_checkpoint(saved)
    trained(2, 0, ckpt_path=saved)
    first = last_layer(path)
    trained(2, 7, ckpt_path=saved)
    again = last_layer(path)
    assert [*again] == [*first] == [0, 1, 2, 3, 4, 5, 6, 8, 9, 12]
    assert all((first[step] == again[step]).all() == (step <= 6) for step in first)


def last_layer(path):
    with ip.open_run(path) as run:
        return {one.step: one.activations(run.layers[-1].name) for one in run.snapshots}
