"""Networks of the libraries that people use, small and untrained, built from configurations."""

import os
import warnings

import numpy as np
import pytest
import torch
import torchvision
from networks import classes

from infoplane import Recorder, open_run
from infoplane.recording.layers import natural_layers
from infoplane.recording.samples import as_inputs

os.environ["HF_HUB_OFFLINE"] = "1"
POSITIONS, WORDS = 12, 60


def transformers():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("transformers")


SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": WORDS,
    "max_position_embeddings": 32,
    "num_labels": 3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def bert(hf):
    return hf.BertForSequenceClassification(hf.BertConfig(**SMALL))


def distilbert(hf):
    options = {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32, "vocab_size": WORDS, "num_labels": 3}
    return hf.DistilBertForSequenceClassification(hf.DistilBertConfig(**options))


def gpt2(hf):
    options = {"n_embd": 16, "n_layer": 3, "n_head": 2, "vocab_size": WORDS, "n_positions": 32, "num_labels": 3}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return hf.GPT2ForSequenceClassification(hf.GPT2Config(**options, **tokens))


def llama(hf):
    return hf.LlamaForSequenceClassification(hf.LlamaConfig(**SMALL, num_key_value_heads=2))


def t5(hf):
    options = {"d_model": 16, "d_ff": 32, "num_layers": 3, "num_heads": 2, "d_kv": 8, "vocab_size": WORDS}
    tokens = {"pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0, "num_labels": 3}
    return hf.T5ForSequenceClassification(hf.T5Config(**options, **tokens))


def albert(hf):
    return hf.AlbertForSequenceClassification(hf.AlbertConfig(**SMALL, embedding_size=8))


LANGUAGE = [
    (bert, "bert.embeddings bert.encoder.layer.0 bert.encoder.layer.1 bert.encoder.layer.2 bert.pooler classifier"),
    (
        distilbert,
        "distilbert.embeddings distilbert.transformer.layer.0 distilbert.transformer.layer.1 "
        "distilbert.transformer.layer.2 pre_classifier classifier",
    ),
    # The last normalisation belongs to the last block, and is noted as its end.
    (gpt2, "transformer.wte transformer.h.0 transformer.h.1 transformer.ln_f score"),
    (llama, "model.embed_tokens model.layers.0 model.layers.1 model.norm score"),
    (
        t5,
        "transformer.encoder.embed_tokens transformer.encoder.block.0 transformer.encoder.block.1 "
        "transformer.encoder.final_layer_norm transformer.decoder.embed_tokens transformer.decoder.block.0 "
        "transformer.decoder.block.1 transformer.decoder.final_layer_norm classification_head.dense "
        "classification_head.out_proj",
    ),
    (
        albert,
        "albert.embeddings albert.encoder.embedding_hidden_mapping_in albert.encoder.albert_layer_groups.0#0 "
        "albert.encoder.albert_layer_groups.0#1 albert.encoder.albert_layer_groups.0#2 albert.pooler_activation "
        "classifier",
    ),
]


NORMALISED = {
    gpt2: {"transformer.ln_f": "transformer.h.2"},
    llama: {"model.norm": "model.layers.2"},
    t5: {f"transformer.{part}.final_layer_norm": f"transformer.{part}.block.2" for part in ("encoder", "decoder")},
}


def sentences(n: int) -> dict[str, torch.Tensor]:
    """Padded sentences, each ended by the token 2."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, WORDS, (n, POSITIONS), generator=generator)
    lengths = 5 + torch.arange(n) % (POSITIONS - 4)
    mask = (torch.arange(POSITIONS) < lengths[:, None]).long()
    ids = torch.where(mask == 1, ids, 0)
    return {"input_ids": ids.scatter(1, lengths[:, None] - 1, 2), "attention_mask": mask}


@pytest.mark.parametrize(("build", "expected"), LANGUAGE, ids=[build.__name__ for build, _ in LANGUAGE])
def test_language_models_show_their_blocks_and_are_recorded_as_they_compute(build, expected, tmp_path):
    hf = transformers()
    torch.manual_seed(0)
    model, inputs = build(hf), sentences(30)
    if build is t5:
        # T5 asks for as many ends in each sentence, which padding does not change.
        assert (inputs["input_ids"] == 2).sum(1).unique().tolist() == [1]
    with Recorder(
        model, {**inputs, "labels": classes(30)}, tmp_path / "run.h5", keep="activations", batch_size=11
    ) as recorder:
        assert [layer.name for layer in recorder.layers] == expected.split()
        ends = {layer.name: layer.ends for layer in recorder.layers if layer.ends}
        assert ends == NORMALISED.get(build, {})
        recorder.snapshot(0)
    model.eval()
    with torch.no_grad():
        logits = model(**inputs).logits
    with open_run(tmp_path / "run.h5") as run:
        assert run.probe.input_distance == "hamming"
        last = run.snapshots[0].activations(run.layers[-1].name)
        block = run.snapshots[0].activations(
            next(name for name in expected.split() if ".1" in name or "#1" in name)
        )
    if last.ndim == 2:
        np.testing.assert_allclose(last, logits.numpy(), atol=1e-5)
    assert block.shape == (30, POSITIONS, 16)
    assert (block[inputs["attention_mask"].numpy() == 0] == 0).all()


VISION = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}


def hf_names(model) -> list[str]:
    return [layer.name for layer in natural_layers(model, torch.randn(3, 3, 32, 32))]


def test_vision_models_of_transformers_show_their_blocks():
    hf = transformers()
    vit = hf.ViTForImageClassification(hf.ViTConfig(**VISION, image_size=32, patch_size=8, num_labels=3))
    names = hf_names(vit)
    assert (names[0], names[-1], len(names)) == ("vit.embeddings", "classifier", 5)
    resnet = hf.ResNetForImageClassification(
        hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3)
    )
    assert hf_names(resnet) == [
        "resnet.embedder",
        "resnet.encoder.stages.0",
        "resnet.encoder.stages.1",
        "classifier",
    ]


def timm_names(name: str, size: int = 32, **options) -> list[str]:
    timm = pytest.importorskip("timm")
    return hf_names(timm.create_model(name, num_classes=3, **options)) if size == 32 else []


def test_normalisations_of_timm_that_hold_their_activation_belong_to_their_convolution():
    names = timm_names("densenet121")
    assert len(names) == 9
    assert names[:3] == ["features.pool0", "features.denseblock1", "features.transition1"]
    stem = timm_names("efficientnet_b0")
    assert stem[0] == "bn1"


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_patch16_224"])
def test_vision_transformers_of_timm_show_their_blocks(name):
    names = timm_names(name, img_size=32, patch_size=8, depth=3, embed_dim=16, num_heads=2)
    assert names == ["patch_embed", "blocks.0", "blocks.1", "norm", "head"]


def test_swin_transformers_show_their_blocks():
    options = {"embed_dim": 8, "depths": [2, 1], "num_heads": [1, 2], "num_classes": 3}
    model = torchvision.models.SwinTransformer(patch_size=[4, 4], window_size=[4, 4], **options)
    assert hf_names(model) == ["features.0", "features.1.0", "features.1.1", "features.2", "norm", "head"]
    names = timm_names(
        "swin_tiny_patch4_window7_224", img_size=32, window_size=4, depths=(2, 1), embed_dim=8, num_heads=(1, 2)
    )
    assert names == ["patch_embed", "layers.0.blocks.0", "layers.0.blocks.1", "layers.1.downsample", "norm", "head"]


def test_a_tokenised_batch_is_a_probe_as_it_is(tmp_path):
    hf = transformers()
    batch = hf.BatchEncoding(data=sentences(24))
    with Recorder(bert(hf), (batch, classes(24)), tmp_path / "run.h5", reduce="first") as recorder:
        recorder.snapshot(0)
    with open_run(tmp_path / "run.h5") as run:
        assert [layer.shape for layer in run.layers] == [(16,)] * 5 + [(3,)]
    assert as_inputs(batch).attention_masks["attention_mask"].shape == (24, POSITIONS)
