"""Matrix-based Rényi α-order entropies in bits: exact, certified, differentiable.

`exact` holds the definitions; `spectrum` finds eigenvalues and turns them into entropies; `distinct` works on the
distinct samples alone; `certified` brackets the entropy of a large matrix, by the probes of `stochastic`;
`differentiable` gives gradients.
"""

from infoplane.entropy.certified import (
    certified_class_joint_entropy,
    certified_entropy,
    certified_joint_entropy,
    certified_mutual_information,
)
from infoplane.entropy.differentiable import entropy_with_gradient
from infoplane.entropy.distinct import distinct_entropy, distinct_samples, linear_entropy
from infoplane.entropy.eigenvalues import spectral_entropy
from infoplane.entropy.exact import (
    class_entropy,
    class_joint_entropies,
    class_joint_entropy,
    conditional_mutual_information,
    gram_entropies,
    gram_entropy,
    joint_entropy,
    mutual_information,
    renyi_entropy,
)
from infoplane.entropy.stochastic import Interval

__all__ = [
    "Interval",
    "certified_class_joint_entropy",
    "certified_entropy",
    "certified_joint_entropy",
    "certified_mutual_information",
    "class_entropy",
    "class_joint_entropies",
    "class_joint_entropy",
    "conditional_mutual_information",
    "distinct_entropy",
    "distinct_samples",
    "entropy_with_gradient",
    "gram_entropies",
    "gram_entropy",
    "joint_entropy",
    "linear_entropy",
    "mutual_information",
    "renyi_entropy",
    "spectral_entropy",
]
