"""Errors for people: which names are guessed, and what stands for want of memory."""

import pickle

import pytest
import torch

from infoplane.errors import InfoplaneError, MissingData, RunFileError, is_of_memory, of_memory, unknown
from infoplane.trainers.session import _naming_code


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sgdd", "did you mean sgd?"),
        ("greedy-dip", "did you mean greedy-dib?"),
        ("foo", "choose from: sgd, greedy-dib, infopro"),
        ("test", "choose from: sgd, greedy-dib, infopro"),
    ],
)
def test_only_what_may_be_meant_is_guessed(name, hint):
    assert str(unknown("method", name, ["sgd", "greedy-dib", "infopro"])) == f"unknown method '{name}'; {hint}"


def test_a_step_of_the_advice_may_be_another():
    error = RunFileError("the disk is full of `resume=True`", "free some space", "go on")
    assert str(error) == "the disk is full of `resume=True`; free some space, then go on"
    assert error.text({"go on": "do it again", "full": "empty"}).endswith("; free some space, then do it again")
    assert str(InfoplaneError("what is wrong; what to do")) == "what is wrong; what to do"
    for kind in (RunFileError, MissingData):
        again = pickle.loads(pickle.dumps(kind(*error.args)))
        assert (str(again), again.fault, again.advice) == (str(error), error.fault, error.advice)


def test_want_of_memory_is_known_by_its_words_alone():
    torch_says = RuntimeError(
        "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: 2 TB"
    )
    assert is_of_memory(torch_says)
    assert is_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert is_of_memory(MemoryError())
    assert not is_of_memory(RuntimeError("memory_format is not supported"))
    assert not is_of_memory(RunFileError("out of memory.h5 does not exist"))
    assert str(of_memory(MemoryError())).startswith("there is not enough memory for this; use a smaller probe")


@pytest.mark.parametrize(
    ("model", "error", "kind"),
    [
        ("mine:net", RuntimeError("unsupported memory_format"), InfoplaneError),
        ("mine:net", RuntimeError("CUDA out of memory"), RuntimeError),
        ("torchvision:resnet18", RuntimeError("shapes"), RuntimeError),
        ("mlp", RuntimeError("shapes"), RuntimeError),
    ],
)
def test_the_user_corrects_only_a_model_of_their_own(model, error, kind):
    with pytest.raises(kind) as failure, _naming_code(model):
        raise error
    assert ("correct the model" in str(failure.value)) == (kind is InfoplaneError)
