"""How often certified intervals cover the exact entropy, over hundreds of draws, on kind and hostile spectra.

    python benchmarks/coverage.py
    python benchmarks/coverage.py --draws 20 --n 600 --csv coverage.csv
    python benchmarks/coverage.py --way reduction --n 1000

Spectra: given eigenvalues in a random orthogonal basis. Activations: a random ReLU network on clustered inputs.
Digits: a ReLU network trained on the digits that come with scikit-learn. Of both, Gram matrices of layers and their
joint ones with the input, with another layer and with the labels, at median and at narrow bandwidth. Heavy tails:
samples from Student's t with 1.5 degrees of freedom, and samples of which half are copies. Every draw has its own
probes; the matrix of a case stays.
"""

from __future__ import annotations

import argparse
import math
import warnings

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from infoplane.entropy import Interval, certified, spectral_entropy
from infoplane.entropy.reduced import reduced_entropy
from infoplane.kernels import gram_matrix, label_gram


def spectra(n: int) -> dict[str, np.ndarray]:
    """Eigenvalues of the cases, descending, summing to 1."""
    index = np.arange(1, n + 1)
    cases = {
        "flat": np.ones(n),
        "power law 0.5": index**-0.5,
        "power law 1": 1.0 / index,
        "power law 2": index**-2.0,
        "exponential": np.exp(-index / 20),
        "few large, flat tail": np.where(index <= 5, n / 10, 1.0),
        "many large, flat tail": np.where(index <= n // 4, 30.0, 1.0),
        "two clusters": np.where(index <= n // 2, 2.0, 1.0),
        "clusters over decades": 10.0 ** -((index * 6) // n),
        "one outlier in a flat tail": np.where(index == 1, 20.0, 1.0),
        "200 outliers": np.where(index <= 200, 1.0, 1e-4),
        "near identity": 1 + 0.01 * np.sin(index),
        "rank n/10": np.where(index <= n // 10, 1.0 / index, 0.0),
        "rank 3": np.where(index <= 3, 1.0, 0.0),
        "low mass spread wide": np.where(index <= 300, 1.0, 10.0 ** -(9 * index / n)),
    }
    return {name: values / values.sum() for name, values in cases.items()}


def rotated(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A symmetric matrix of given eigenvalues in a random orthogonal basis."""
    basis = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    matrix = (basis * values) @ basis.T
    return (matrix + matrix.T) / 2


def activations(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Gram matrices of a random ReLU network's layers, and of layer and input together."""
    labels = rng.integers(0, 10, n)
    inputs = rng.standard_normal((10, 64))[labels] + rng.standard_normal((n, 64))
    gram_x = gram_matrix(inputs)
    found, layer = {"inputs": gram_x}, inputs
    for depth, width in enumerate((128, 64, 10), start=1):
        layer = np.maximum(layer @ rng.standard_normal((layer.shape[1], width)) / layer.shape[1] ** 0.5, 0)
        gram = gram_matrix(layer)
        found[f"ReLU layer {depth}"] = gram
        found[f"ReLU layer {depth} with inputs"] = gram * gram_x * n
        found[f"ReLU layer {depth}, narrow kernel"] = gram_matrix(layer, sigma=0.3)
    return found


def digits(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Gram matrices of a trained network's layers, and joint ones."""
    images, labels = load_digits(return_X_y=True)
    network = MLPClassifier((128, 64, 32), max_iter=25, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it need not converge
        network.fit(images / 16, labels)
    chosen = rng.permutation(len(images))[:n]
    layer = images[chosen] / 16
    grams = {"digits": gram_matrix(layer)}
    for depth, (weights, offset) in enumerate(zip(network.coefs_, network.intercepts_, strict=True), start=1):
        layer = layer @ weights + offset
        layer = layer if depth == len(network.coefs_) else np.maximum(layer, 0)
        grams[f"trained layer {depth}"] = gram_matrix(layer)
    first, last = grams["trained layer 1"], grams["trained layer 4"]
    size = len(layer)
    return grams | {
        "trained layer 1 with digits": first * grams["digits"] * size,
        "trained layer 4 with digits": last * grams["digits"] * size,
        "trained layers 1 and 4": first * last * size,
        "trained layers 1 and 4 with digits": first * last * grams["digits"] * size**2,
        "trained layer 1 with labels": first * label_gram(labels[chosen]) * size,
        "trained layer 4, narrow kernel": gram_matrix(layer, sigma=0.3 * float(np.median(np.abs(layer)))),
    }


def heavy_tails(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Gram matrices of samples with outliers, and of repeated samples."""
    outliers = rng.standard_t(1.5, (n, 20))
    repeated = rng.standard_normal((n, 10))
    repeated[n // 2 :] = repeated[: n - n // 2]
    wide, narrow = gram_matrix(outliers), gram_matrix(outliers, sigma=2.0)
    return {
        "heavy tails": wide,
        "heavy tails, narrow kernel": narrow,
        "half of the samples copies": gram_matrix(repeated),
        "copies with heavy tails": gram_matrix(repeated) * wide * n,
    }


def coverage(n: int, draws: int, alphas: list[float], confidence: float, seed: int, way: str) -> pd.DataFrame:
    """One row per case and order: draws, share covered, largest error, width, cost."""
    rng = np.random.default_rng(seed)
    cases = {name: (rotated(values, rng), values) for name, values in spectra(n).items()}
    for family in (activations, digits, heavy_tails):
        cases |= {name: (gram, np.linalg.eigvalsh(gram)) for name, gram in family(n, rng).items()}
    rows = []
    for name, (matrix, values) in cases.items():
        for alpha in alphas:
            # Without a way back to exact: the approximation itself is on trial.
            operator = certified._dense([torch.from_numpy(matrix)])
            exact = spectral_entropy(values, alpha)
            found: list[Interval] = []
            for draw in range(draws):
                if way == "reduction":
                    # Of any width, and nothing where rounding made an eigenvalue too negative.
                    made = reduced_entropy([torch.from_numpy(matrix)], alpha, math.inf, confidence, draw)
                    found += [made] if made else []
                else:
                    found.append(certified.certified_entropy(operator, alpha, confidence=confidence, seed=draw))
            if not found:
                continue
            errors = np.array([interval.value - exact for interval in found])
            inside = [interval.low - 1e-12 <= exact <= interval.high + 1e-12 for interval in found]
            rows.append(
                {
                    "case": name,
                    "α": alpha,
                    "draws": len(found),
                    "covered": sum(inside),
                    "largest error [mbit]": 1e3 * float(np.abs(errors).max()),
                    "half-width [mbit]": 1e3 * float(np.mean([(i.high - i.low) / 2 for i in found])),
                    "bound part [mbit]": 1e3 * float(np.mean([i.bound for i in found])),
                    "probes": float(np.mean([i.probes for i in found])),
                    "steps": float(np.mean([i.steps for i in found])),
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    """Prints the table and the coverage over all draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--alpha", type=float, nargs="+", default=[1.0, 1.01, 1.5])
    parser.add_argument("--confidence", type=float, default=0.99)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--way", choices=("probes", "reduction"), default="probes", help="what is on trial")
    parser.add_argument("--csv")
    given = parser.parse_args()
    table = coverage(given.n, given.draws, given.alpha, given.confidence, given.seed, given.way)
    print(table.to_string(index=False, float_format="%.3g"))
    covered, draws = table["covered"].sum(), table["draws"].sum()
    print(f"covered {covered} of {draws} ({100 * covered / draws:.2f} %), nominal {100 * given.confidence:g} %")
    if given.csv:
        table.to_csv(given.csv, index=False)


if __name__ == "__main__":
    main()
