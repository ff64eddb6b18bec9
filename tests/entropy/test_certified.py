import numpy as np
import pytest
import torch

from infoplane import gram_matrix, joint_entropy, mutual_information, renyi_entropy
from infoplane.entropy import (
    Interval,
    certified,
    certified_class_joint_entropy,
    certified_entropy,
    certified_joint_entropy,
    certified_mutual_information,
    class_joint_entropy,
    spectral_entropy,
    stochastic,
)
from infoplane.entropy import stripes as symmetric
from infoplane.entropy.lanczos import ProbeLanczos, Rule, ritz_pairs
from infoplane.entropy.stochastic import Estimate, Level, Operator
from infoplane.entropy.trace_functions import Polynomial

N = 640


@pytest.fixture(autouse=True)
def _single_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def draw(n=N, d=5, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def diagonal(values):
    """Probes have no preferred basis, so a diagonal matrix stands for every matrix of its spectrum."""
    values = torch.from_numpy(values / values.sum())
    single = values.to(torch.float32)
    return Operator(lambda x: single * x, len(values), float((values**2).sum()), single), values.numpy()


SPECTRA = {
    "flat": np.ones(N),
    "power law": 1.0 / np.arange(1, N + 1),
    "steep": np.exp(-np.arange(N) / 20),
    "few large, flat tail": np.where(np.arange(N) < 5, 60.0, 1.0),
    "clusters": 10.0 ** -((np.arange(N) * 6) // N),
    "near identity": 1 + 0.01 * np.sin(np.arange(N)),
    "rank n/10": np.where(np.arange(N) < N // 10, 1.0 / (1 + np.arange(N)), 0.0),
    "rank 2": np.where(np.arange(N) < 2, 1.0, 0.0),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("alpha", [1.0, 1.01, 1.5, 2.5])
def test_intervals_cover_and_meet_the_tolerance(name, alpha):
    operator, values = diagonal(SPECTRA[name])
    exact = spectral_entropy(values, alpha)
    found = [certified_entropy(operator, alpha, seed=seed) for seed in range(2)]
    assert all(interval.low - 1e-9 <= exact <= interval.high + 1e-9 for interval in found)
    assert all(interval.high - interval.low <= 2 * 5e-3 for interval in found)
    assert all(interval.kind == "statistical" and not interval.exact for interval in found)


def test_nominal_rate_where_intervals_are_tight(monkeypatch):
    # At half the confidence misses must appear: the interval is no mere over-estimate, and still covers its rate.
    operator, values = diagonal(np.random.default_rng(1).uniform(0.2, 1, N) ** 4)
    exact = spectral_entropy(values, 1.0)
    found = [certified_entropy(operator, 1.0, confidence=0.5, seed=seed) for seed in range(40)]
    assert 20 <= sum(interval.low <= exact <= interval.high for interval in found) < 40


@pytest.fixture(params=["reduction", "probes"])
def way(request, monkeypatch):
    """What finds the interval of a Gram matrix."""
    if request.param == "probes":
        monkeypatch.setattr(certified, "PRODUCTS", 0)
    return request.param


@pytest.mark.parametrize("alpha", [1.0, 1.01])
def test_gram_matrices_joints_and_informations(alpha, way):
    x = draw()
    A, B = gram_matrix(x), gram_matrix(np.tanh(x @ draw(5, 3, seed=1)))
    cases = [
        (certified_entropy(A, alpha), renyi_entropy(A, alpha)),
        (certified_joint_entropy(A, B, alpha=alpha), joint_entropy(A, B, alpha=alpha)),
        (certified_mutual_information(A, B, alpha), mutual_information(A, B, alpha)),
    ]
    for interval, exact in cases:
        assert interval.low <= exact <= interval.high
        assert interval.high - interval.low <= 2 * 5e-3
        assert not interval.exact
        assert (interval.steps > 0) == (way == "probes")


def test_class_blocks(way):
    A = gram_matrix(draw(1400))
    for labels in (np.arange(1400) % 2, np.arange(1400) % 10):
        interval = certified_class_joint_entropy(A, labels)
        assert interval.low - 1e-12 <= class_joint_entropy(A, labels) <= interval.high + 1e-12
        assert interval.exact == (labels.max() == 9)
        assert (interval.steps > 0) == (way == "probes" and not interval.exact)


def test_operations_decide_between_the_ways(monkeypatch):
    taken = []

    class Probed:
        def __init__(self, *given):
            pass

        def run(self):
            taken.append("probes")

    monkeypatch.setattr(certified, "Estimate", Probed)
    monkeypatch.setattr(certified, "reduced_entropy", lambda blocks, *given: taken.append("reduction") or True)
    for sizes in ([600], [1575], [1576], [1575, 600], [3000] + [60] * 10):
        certified._certified(sizes, list, lambda direct: None, float, (1.0, 0.01, 0.99, 0))
    assert taken == ["reduction", "reduction", "probes", "reduction", "probes"]


@pytest.mark.parametrize(("n", "alpha"), [(200, 1.0), (N, 0.5), (N, 2.0), (N, 3.0)])
def test_exact_where_that_is_as_cheap(n, alpha):
    A = gram_matrix(draw(n))
    interval = certified_entropy(A, alpha)
    assert interval == Interval.of_exact(float(renyi_entropy(A, alpha)))
    assert (interval.kind, interval.probes) == ("exact", 0)


def test_falls_back_to_exact_where_neither_would_do(way):
    A = gram_matrix(draw())
    assert certified_entropy(A, 1.0, tolerance=1e-7) == Interval.of_exact(float(renyi_entropy(A)))


def test_probes_that_would_cost_more_give_way_to_a_reduction(monkeypatch):
    monkeypatch.setattr(certified, "PRODUCTS", 0)
    monkeypatch.setattr(stochastic, "_BUDGET", 0)
    A = gram_matrix(draw())
    found = certified_entropy(A, 1.0)
    assert found.steps == 0
    assert not found.exact
    assert found.low <= renyi_entropy(A) <= found.high


def test_repeated_samples_and_extreme_scales(way):
    x = np.repeat(draw(320), 2, axis=0)
    exact = renyi_entropy(gram_matrix(x))
    for scale in (1e-300, 1.0, 1e300):
        interval = certified_entropy(gram_matrix(x * scale), 1.0)
        assert interval.low <= exact <= interval.high


def test_the_same_seed_gives_the_same_interval():
    A = gram_matrix(draw())
    assert certified_entropy(A, seed=3) == certified_entropy(A, seed=3)
    assert certified_entropy(A, seed=3) != certified_entropy(A, seed=4)


def test_products_alone_cannot_give_orders_below_one():
    operator, _ = diagonal(SPECTRA["flat"])
    with pytest.raises(ValueError, match="below 1"):
        certified_entropy(operator, 0.5)


def test_rules_bracket_every_probe():
    values = torch.logspace(-6, 0, 80, dtype=torch.float64)
    starts = torch.nn.functional.normalize(torch.randn(5, 80, dtype=torch.float64), dim=1)
    truth = (starts**2 * values * values.log()).sum(1)
    lanczos = ProbeLanczos(lambda x: values * x, starts)
    lanczos.advance(6)
    gauss, radau = (rule.apply(lambda x: torch.special.xlogy(x, x)) for rule in (lanczos.gauss(), lanczos.radau()))
    assert (gauss <= truth).all()
    assert (truth <= radau).all()
    squares = lanczos.gauss().apply(lambda x: x**2)
    torch.testing.assert_close(squares, (starts**2 * values**2).sum(1))


def test_ritz_residuals_are_measured():
    values = torch.logspace(-6, 0, 200, dtype=torch.float64)
    theta, vectors, residuals = ritz_pairs(lambda x: values * x, torch.randn(4, 200).double(), 6)
    torch.testing.assert_close(residuals, torch.linalg.norm(values * vectors - vectors * theta[:, None], dim=1))
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(24).double())
    assert theta[0] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("rows", [1, 7, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_and_norm_from_the_upper_triangle(rows, dtype, monkeypatch):
    matrix = torch.from_numpy(gram_matrix(draw(40)))
    monkeypatch.setattr(symmetric, "STRIPED_FROM", 10)
    monkeypatch.setattr(symmetric, "STRIPE_BYTES", 4 * 40 * rows)
    half = torch.full_like(matrix, torch.nan)
    norm = 0.0
    for stripe in symmetric.stripes(40, matrix.device):
        half[stripe, stripe.start :] = matrix[stripe, stripe.start :]
        norm += symmetric.square(matrix[stripe, stripe.start :])
    x = torch.from_numpy(draw(3, 40)).to(dtype)
    found = symmetric.times(x, half.to(torch.float32))
    assert found.dtype == dtype
    single = matrix.to(torch.float32).to(torch.float64)
    error = 1e-14 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(found.double(), x.double() @ single, rtol=0, atol=error)
    assert norm == pytest.approx(float((matrix**2).sum()), rel=1e-14)


def test_probes_stay_orthogonal_over_many_steps():
    matrix = torch.from_numpy(gram_matrix(draw(300, 3))).to(torch.float32)
    starts = torch.nn.functional.normalize(torch.randn(2, 300, generator=torch.Generator().manual_seed(0)))
    lanczos = ProbeLanczos(lambda x: x @ matrix, starts)
    lanczos.advance(30)
    for basis in lanczos.basis[:, :30].double():
        assert (basis @ basis.mT - torch.eye(30)).abs().max() < 1e-6


def test_a_polynomial_is_found_again_and_knows_its_trace():
    values = torch.linspace(1e-6, 3e-4, 40, dtype=torch.float64)
    rule = Rule(values[None], torch.full((1, 40), 1 / 40, dtype=torch.float64))
    cubic = lambda x: 2 - 3e3 * x + 5e7 * x**2 - 1e10 * x**3  # noqa: E731
    found = Polynomial.fit(cubic, [rule], 3, 3.3e-4)
    np.testing.assert_allclose(found.powers(), [2, -3e3, 5e7, -1e10], rtol=1e-8)
    moments = [float((values**power).sum()) for power in range(4)]
    assert found.powers() @ moments == pytest.approx(float(cubic(values).sum()), rel=1e-9)


def test_both_levels_are_unbiased_where_probes_decide():
    # Nothing can be deflated here, and the quadratic leaves much: the mean over many runs must still be exact.
    operator, values = diagonal(np.random.default_rng(2).uniform(0, 1, N) ** 3)
    exact = spectral_entropy(values, 1.0)
    runs = []
    for seed in range(60):
        estimate = Estimate(operator, 1.0, 1e-1, 0.99, seed)
        interval = estimate.run()
        assert estimate.coarse
        assert len(estimate.fine) >= 2
        runs.append(interval.value)
    assert abs(np.mean(runs) - exact) < 4 * np.std(runs) / 60**0.5 + 5e-5
    assert np.std(runs) > 5e-5


def test_the_error_of_two_levels():
    level = Level.of(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), torch.zeros(3), 10)
    assert (level.mean, level.variance, level.count) == (2.0, 1.0, 3)
    none, still = Level.of(torch.zeros(0), torch.ones(2), 10), Level(0.0, 0.0, 5)
    assert none.error(level, 0.99) == np.inf
    assert still.error(still, 0.99) == 0.0
    # One level alone: Student's t with two degrees of freedom.
    assert level.error(still, 0.95) == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
