"""The device of a name."""

import pytest
import torch

from infoplane.device import device_of
from infoplane.errors import InfoplaneError


def test_a_device_is_tried_once(monkeypatch):
    tried = []

    def empty(*sizes, device):
        tried.append(str(device))
        raise RuntimeError if device.type == "meta" else StopIteration

    device_of.cache_clear()
    assert device_of("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch, "empty", empty)
    assert device_of("cpu") == torch.device("cpu")
    assert not tried
    # One that is not there may be there later.
    for _ in range(2):
        with pytest.raises(InfoplaneError, match="'meta' is not available here"):
            device_of("meta")
    assert tried == ["meta", "meta"]
