"""A training of Transformers, recorded."""

import doctest
import importlib.util

import pytest
import torch

import infoplane as ip

transformers = pytest.importorskip("transformers", reason="Transformers is not installed")
if importlib.util.find_spec("accelerate") is None:
    pytest.skip("Accelerate, which the Trainer of Transformers needs, is not installed", allow_module_level=True)
from infoplane.integrations.transformers import RecorderCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
WORDS = 50
TOKENS = torch.randint(5, WORDS, (96, 12), generator=torch.Generator().manual_seed(0))
Y = (TOKENS[:, 0] > 27).long()
LAYERS = ["bert.encoder.layer.*", "classifier"]


class Sentences(torch.utils.data.Dataset):
    def __len__(self):
        return len(TOKENS)

    def __getitem__(self, index):
        return {"input_ids": TOKENS[index], "attention_mask": torch.ones(12, dtype=torch.long), "labels": Y[index]}


def network():
    transformers.set_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(**sizes, vocab_size=WORDS, max_position_embeddings=16, num_labels=2)
    return transformers.BertForSequenceClassification(config)


def arguments(folder, **options):
    plain = {"num_train_epochs": 2, "per_device_train_batch_size": 16, "logging_steps": 2, "save_strategy": "no"}
    quiet = {"report_to": [], "use_cpu": True, "disable_tqdm": True, "seed": 0}
    return transformers.TrainingArguments(output_dir=str(folder), **{**plain, **quiet, **options})


def fit(folder, callback=None, resume=None, **options):
    model = network()
    callbacks = [callback] if callback else []
    settings = arguments(folder / "out", **options)
    trainer = transformers.Trainer(model, settings, train_dataset=Sentences(), callbacks=callbacks)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train(resume_from_checkpoint=resume)
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]), trainer.state


def steps(path):
    with ip.open_run(path) as run:
        return [snapshot.step for snapshot in run.snapshots]


def callback(folder, **options):
    return RecorderCallback((TOKENS[:30], Y[:30]), folder / "run.h5", layers=LAYERS, **options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, [0, 1, 2, 3, 4, 5, 6, 8, 9, 12]), ({"gradient_accumulation_steps": 2}, [0, 1, 2, 3, 4, 5, 6])],
)
def test_the_training_ends_with_the_same_weights(tmp_path, options, expected):
    recorded, _ = fit(tmp_path, callback(tmp_path), **options)
    plain, _ = fit(tmp_path, **options)
    assert torch.equal(recorded, plain)
    assert steps(tmp_path / "run.h5") == expected
    with ip.open_run(tmp_path / "run.h5") as run:
        assert [layer.name for layer in run.layers] == [
            "bert.encoder.layer.0",
            "bert.encoder.layer.1",
            "classifier",
        ]
        assert {"loss", "learning_rate"} <= set(run.metrics)


def test_the_history_gets_the_informations(tmp_path):
    _, state = fit(tmp_path, callback(tmp_path, log=True))
    logged = [entry for entry in state.log_history if "infoplane/I_XT/classifier" in entry]
    table = ip.estimate(tmp_path / "run.h5").query("layer == 'classifier'")
    assert [entry["step"] for entry in logged] == table["step"].tolist()
    assert [entry["infoplane/I_TY/classifier"] for entry in logged] == table["I_TY"].tolist()


def test_a_training_that_goes_on_goes_on_with_its_file(tmp_path):
    fit(tmp_path, callback(tmp_path), num_train_epochs=1, save_strategy="epoch")
    fit(tmp_path, callback(tmp_path), resume=True)
    assert steps(tmp_path / "run.h5") == [0, 1, 2, 3, 4, 5, 6, 8, 9, 12]


def test_the_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transformers.PrinterCallback, "on_log", lambda *_, **__: None)
    names = {"ip": ip, "tokens": TOKENS[:30], "y": Y[:30], "RecorderCallback": RecorderCallback, "model": network()}
    names |= {"Trainer": transformers.Trainer, "sentences": Sentences(), "arguments": arguments(tmp_path)}
    [test] = doctest.DocTestFinder(recurse=False).find(RecorderCallback, module=False, globs=names)
    assert doctest.DocTestRunner().run(test).failed == 0


def test_a_training_that_failed_is_begun_again_with_the_same_callback(tmp_path):
    class Failing(transformers.TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 3:
                raise KeyboardInterrupt

    again = callback(tmp_path, force=True)
    model, settings = network(), arguments(tmp_path / "out")
    trainer = transformers.Trainer(model, settings, train_dataset=Sentences(), callbacks=[again, Failing()])
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    fit(tmp_path, again, num_train_epochs=1)
    assert steps(tmp_path / "run.h5") == [0, 1, 2, 3, 4, 5, 6]
