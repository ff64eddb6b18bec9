import gc
import os
import resource
import sys
import weakref
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from infoplane.trainers import meter
from infoplane.trainers.meter import forget_peak_rss, measure_step, peak_rss

BATCH = 64


def chain(widths, activation=nn.ReLU):
    layers = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


def end_to_end(model, x, parts=1):
    """A step of SGD, with gradients cleared before and after."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def step():
        for part in x.chunk(parts):
            model(part).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def bytes_of(*shapes):
    return sum(4 * torch.Size(shape).numel() for shape in shapes)


def cost_of(step):
    """Cost of something whose result nobody keeps."""

    def forgetful():
        step()

    return measure_step(forgetful, "cpu")


def test_saved_for_backward_by_hand():
    x = torch.randn(BATCH, 30)
    # Each layer keeps its input, each ReLU its output, which is the input of the next; x stood before.
    step = end_to_end(chain((30, 50, 20, 1)), x)
    assert measure_step(step, "cpu").saved == bytes_of((BATCH, 50), (BATCH, 20))
    # SiLU keeps its input, so that each layer has two.
    smooth = end_to_end(chain((30, 50, 20, 1), nn.SiLU), x)
    assert measure_step(smooth, "cpu").saved == bytes_of(*[(BATCH, 50)] * 2, *[(BATCH, 20)] * 2)
    # An input that the step makes counts.
    model = chain((30, 50, 1))
    assert cost_of(lambda: model(x * 2).sum().backward()).saved == bytes_of((BATCH, 30), (BATCH, 50))


def test_gradient_accumulation_keeps_one_part_at_a_time():
    model, x = chain((30, 50, 20, 1)), torch.randn(BATCH, 30)
    whole = measure_step(end_to_end(model, x), "cpu")
    quarters = measure_step(end_to_end(model, x, parts=4), "cpu")
    assert quarters.saved == whole.saved / 4
    assert quarters.peak < whole.peak
    assert quarters.flops == whole.flops


def test_peak_of_a_forward_pass_by_hand():
    x = torch.randn(BATCH, 30)

    @torch.no_grad()
    def forward(model):
        model(x)

    # A layer's output lives until the activation is there; then the activation until the next output is.
    model = chain((30, 50, 20, 1))
    assert cost_of(lambda: forward(model)).peak == bytes_of((BATCH, 50), (BATCH, 50))
    inplace = chain((30, 50, 20, 1), lambda: nn.ReLU(inplace=True))
    assert cost_of(lambda: forward(inplace)).peak == bytes_of((BATCH, 50), (BATCH, 20))


def test_storages_count_once_and_until_they_are_freed():
    stood = torch.ones(1000)

    def step():
        made = stood + 1
        views = [made[10:], made.view(10, 100), made.t(), made.detach()]
        made.add_(1)
        stood.mul_(2)
        del made
        torch.ones(400)
        kept = torch.ones(500)
        del views
        return kept

    cost = cost_of(step)
    assert cost.peak == 4 * 1500
    assert cost.saved == 0
    assert cost.flops == 0
    assert cost_of(lambda: torch.tensor([1.0] * 7).unsqueeze(0)).peak == 28
    assert cost_of(lambda: [torch.ones(100) for _ in range(5)]).peak == 5 * 400
    assert cost_of(lambda: [torch.ones(100).sum() for _ in range(5)]).peak == 400 + 5 * 4


def test_resized_storages_count_with_their_new_size():
    def step():
        out = torch.empty(0)
        torch.add(torch.ones(100), torch.ones(100), out=out)

    assert measure_step(step, "cpu").peak == 3 * 400


def test_discarded_graphs_do_not_count():
    # Hooks on modules, such as FlopCounterMode's, and packed tensors can keep graphs that nobody needs any more.
    model, x = chain((30, 30, 30)), torch.randn(BATCH, 30, requires_grad=True)
    once = cost_of(lambda: model(x))

    def often():
        for _ in range(4):
            model(x)

    assert cost_of(often).peak == once.peak


def block_by_block(model, x):
    blocks = [(block, torch.optim.SGD(block.parameters(), 0.1)) for block in model]

    def step():
        h = x
        for block, optimizer in blocks:
            z = block(h)
            z.square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            h = z.detach()
            del z

    return step


def test_memory_over_depth():
    width, x = 32, torch.randn(128, 32)

    def peaks(make):
        networks = (
            nn.Sequential(*(nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(depth)))
            for depth in (6, 8, 10, 12)
        )
        return [measure_step(make(network, x), "cpu").peak for network in networks]

    end, local = peaks(end_to_end), peaks(block_by_block)
    # Each layer more keeps its activation.
    assert torch.tensor(end).diff().tolist() == [2 * bytes_of((128, width))] * 3
    assert len(set(local)) == 1
    assert local[0] < end[-1]


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_is_seen(reentrant):
    blocks = nn.Sequential(*(chain((32, 64, 64, 32), nn.Tanh) for _ in range(4)))
    x = torch.randn(256, 32, requires_grad=True)

    def segments(x):
        for block in blocks:
            x = checkpoint(block, x, use_reentrant=reentrant)
        return x

    plain = cost_of(lambda: blocks(x).sum().backward())
    blocks.zero_grad()
    segmented = cost_of(lambda: segments(x).sum().backward())
    blocks.zero_grad()
    # One segment recomputes everything before it goes back, which saves nothing.
    whole = cost_of(lambda: checkpoint(blocks, x, use_reentrant=reentrant).sum().backward())
    assert segmented.peak < 0.6 * plain.peak
    assert whole.peak == pytest.approx(plain.peak, rel=0.1)
    # Forward is a third of forward and backward; without need the end of a segment is not computed again.
    assert plain.flops < segmented.flops <= 4 / 3 * plain.flops
    if reentrant:
        assert segmented.saved < 0.6 * plain.saved
        assert whole.saved == pytest.approx(plain.saved, rel=0.1)
    else:
        assert segmented.saved is None
        assert cost_of(lambda: blocks(x).sum().backward()).saved == plain.saved


def test_measuring_changes_nothing():
    def train(measured):
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(36, 3),
        )
        optimizer = torch.optim.Adam(model.parameters())
        x, y = torch.randn(12, 1, 8, 8), torch.arange(12) % 3

        def step():
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()

        for _ in range(3):
            if measured:
                measure_step(step, "cpu")
            else:
                step()
        gradients = {f"{name}.grad": p.grad for name, p in model.named_parameters()}
        return {**model.state_dict(), **gradients, "rng": torch.get_rng_state()}

    plain, measured = train(False), train(True)
    assert plain.keys() == measured.keys()
    assert all(torch.equal(plain[name], measured[name]) for name in plain)


def test_second_derivatives_are_the_same():
    x = torch.linspace(-1, 1, 9, requires_grad=True)

    def step():
        (first,) = torch.autograd.grad(x.exp().sin().sum(), x, create_graph=True)
        first.square().sum().backward()

    step()
    plain, x.grad = x.grad, None
    measure_step(step, "cpu")
    assert torch.equal(x.grad, plain)


def test_nothing_is_held_back():
    model, x = chain((30, 50, 20, 1)), torch.randn(BATCH, 30)
    storages, outputs = [], []

    def step():
        hidden = model[:3](x)
        output = model[3:](hidden)
        storages.extend(weakref.ref(value.untyped_storage()) for value in (hidden, output))
        outputs.append(output)
        output.sum().backward()

    gc.disable()
    try:
        measure_step(step, "cpu")
        assert storages[0]() is None
        assert storages[1]() is not None
        outputs.clear()
        assert storages[1]() is None
    finally:
        gc.enable()


def flops_of(function, *shape):
    x = torch.randn(shape, requires_grad=True)
    return measure_step(lambda: function(x).sum().backward(), "cpu").flops


def test_operations():
    model, x = chain((30, 50, 20, 1)), torch.randn(BATCH, 30)
    step = end_to_end(model, x)
    # Forward, gradient of the weights, gradient of the inputs but for the first layer.
    products = 3 * (30 * 50 + 50 * 20 + 20 * 1) - 30 * 50
    assert measure_step(step, "cpu").flops == 2 * BATCH * products
    convolutions = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, stride=2))
    step = end_to_end(convolutions, torch.randn(2, 3, 9, 9))
    counter = FlopCounterMode(display=False)
    with counter:
        step()
    assert measure_step(step, "cpu").flops == counter.get_total_flops() > 0

    recurrent = nn.LSTM(32, 64, num_layers=2, bidirectional=True)
    steps = 20 * 8
    weights = sum(one.numel() for name, one in recurrent.named_parameters() if name.startswith("weight"))
    assert flops_of(lambda x: recurrent(x)[0], 20, 8, 32) == 3 * 2 * steps * weights
    recurrent = nn.LSTM(32, 64, bias=False)
    assert flops_of(lambda x: recurrent(x)[0], 20, 8, 32) == 3 * 2 * steps * 4 * 64 * (32 + 64)
    # Forward two products; backward these again, and two for each.
    attention = functional.scaled_dot_product_attention
    assert flops_of(lambda x: attention(x, x, x), 2, 4, 16, 8) == (2 + 5) * 2 * 2 * 4 * 16 * 16 * 8
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, dropout=0.0).eval()
    trained = flops_of(layer, 8, 20, 32)
    sequences = torch.randn(8, 20, 32)
    with torch.no_grad():
        # One operator without gradients, a third of the products, without the scores that are made again.
        whole = measure_step(lambda: layer(sequences), "cpu").flops
        attention = measure_step(lambda: layer.self_attn(*[sequences] * 3), "cpu").flops
    products, scores = 2 * 8 * 20 * (4 * 32 * 32), 4 * 8 * 20 * 20 * 32
    assert attention == products + scores
    assert whole == products + scores + 2 * 8 * 20 * (2 * 32 * 64)
    assert trained == 3 * whole + scores // 2
    for convolution in (nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.ConvTranspose2d(32, 32, 3, groups=4)):
        assert flops_of(convolution, 4, 32, 8, 8) == 3 * 2 * 4 * 8 * 8 * convolution.weight.numel()

    @torch.inference_mode()
    def infer():
        model(x)

    assert measure_step(infer, "cpu").flops == 2 * BATCH * (30 * 50 + 50 * 20 + 20)


def test_an_error_in_the_step_leaves_nothing_behind():
    enter = torch.autograd.graph.saved_tensors_hooks.__enter__
    with pytest.raises(ZeroDivisionError):
        measure_step(lambda: 1 / 0, "cpu")
    assert torch.autograd.graph.saved_tensors_hooks.__enter__ is enter
    assert cost_of(lambda: torch.ones(10)).peak == 40


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_allocator_agrees():
    model, x = chain((512, 512, 512, 512)).cuda(), torch.randn(4096, 512, device="cuda")
    step = end_to_end(model, x)
    step()
    gpu = measure_step(step, "cuda")
    cpu = measure_step(end_to_end(model.cpu(), x.cpu()), "cpu")
    assert gpu.peak == pytest.approx(cpu.peak, rel=0.2)
    assert (gpu.saved, gpu.flops) == (cpu.saved, cpu.flops)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_peak_rss_covers_what_is_held():
    held = bytearray(b"1") * (64 << 20)
    now = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    assert len(held) < now <= peak_rss() + (1 << 20)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the platform begins no new peak")
def test_the_peak_of_a_run_is_not_that_of_the_run_before_it():
    held = bytearray(b"1") * (256 << 20)
    before = peak_rss()
    del held
    assert forget_peak_rss()
    assert peak_rss() < before - (200 << 20)


@pytest.mark.parametrize(("platform", "unit"), [("darwin", 1), ("linux", 1024)])
def test_peak_rss_units(monkeypatch, tmp_path, platform, unit):
    monkeypatch.setattr(meter, "_STATUS", tmp_path / "missing")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda who: type("Usage", (), {"ru_maxrss": 7}))
    assert peak_rss() == 7 * unit


def test_the_peak_of_a_step_that_leaves_cycles_is_the_same_whatever_else_the_process_did():
    def step():
        for _ in range(200):
            cycle = [torch.zeros(1000)]
            cycle.append(cycle)

    found = []
    before = gc.get_threshold()
    try:
        for eager in (1, 10_000):
            gc.set_threshold(eager)
            found.append(measure_step(step, "cpu").peak)
    finally:
        gc.set_threshold(*before)
    assert found == [200 * 4000] * 2
    assert gc.isenabled()
