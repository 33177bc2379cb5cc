"""The posterior by layers, in the eigenbases of two small matrices a layer."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, cast

import numpy as np

from laplace_nn.curvature.base import Curvature, PositivePart, require
from laplace_nn.curvature.kfac import KFAC, join_layers, split_layers
from laplace_nn.linalg import NotPositiveDefiniteError
from laplace_nn.network import MLP, LayerwiseJacobian
from laplace_nn.posterior.base import RegularisedPosterior, in_blocks
from laplace_nn.priors import GaussianPrior

__all__ = ["KroneckerPosterior", "KroneckerPrecision"]


@dataclass(frozen=True)
class LayerBasis:
    """A layer's eigenbases: A = D^½ (U ⊗ V) diag(1 + s) (U ⊗ V)ᵀ D^½."""

    units: np.ndarray  # U, (n_out, n_out)
    inputs: np.ndarray  # V, (n_in + 1, n_in + 1)
    strengths: np.ndarray  # s_ij = scale·b_i a_j, (n_out, n_in + 1)
    root: np.ndarray  # D^-½, (n_in + 1,)

    def half_solve(self, X: np.ndarray) -> np.ndarray:
        """(1 + s)^-½ (Uᵀ X D^-½ V) for X (..., n_out, n_in + 1): its square is XᵀA⁻¹X."""
        return (self.units.T @ (X * self.root) @ self.inputs) / np.sqrt(1.0 + self.strengths)

    def half_solve_transposed(self, X: np.ndarray) -> np.ndarray:
        """The transpose of `half_solve`: from the eigenbases back to the weights."""
        rotated = self.units @ (X / np.sqrt(1.0 + self.strengths)) @ self.inputs.T
        return rotated * self.root

    def data_share(self) -> np.ndarray:
        """1 - λ A⁻¹ of every weight, (n_out, n_in + 1): between 0 (prior) and 1 (data)."""
        share = self.strengths / (1.0 + self.strengths)
        return self.units**2 @ share @ (self.inputs**2).T

    def variance(self) -> np.ndarray:
        """The layer's part of diag A⁻¹, (n_out, n_in + 1)."""
        whitened = self.units**2 @ (1.0 / (1.0 + self.strengths)) @ (self.inputs**2).T
        return whitened * self.root**2

    def squared_lengths(self, X: np.ndarray) -> np.ndarray:
        """Σ (1 + s) (Uᵀ X V)² of whitened weights X (S, n_out, n_in + 1), (S,)."""
        turned = self.units.T @ X @ self.inputs
        return np.einsum("sij,ij->s", turned * turned, 1.0 + self.strengths)

    def rotate(self, S: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Signals S U (n, K, n_out) and inputs (z, 1) D^-½ V (n, n_in + 1)."""
        inputs = (z * self.root[:-1]) @ self.inputs[:-1] + self.root[-1] * self.inputs[-1]
        return S @ self.units, inputs


@dataclass(frozen=True)
class KroneckerPrecision:
    """A = scale·B_l ⊗ A_l + Λ_l of every layer, by eigenvalues.

    A = Λ^½ (scale·B ⊗ D^-½ A_l D^-½ + I) Λ^½ with Λ = I ⊗ D; with B = U b Uᵀ and
    D^-½ A_l D^-½ = V a Vᵀ the whitened eigenvalues are 1 + scale·b_i a_j.

    Parameters
    ----------
    mlp : MLP
        The network.
    unit_eigen : tuple of (ndarray (n_out,), ndarray (n_out, n_out))
        b and U of every layer.
    input_factors : tuple of ndarray, each (n_in + 1, n_in + 1)
        A_l of every layer, the bias last.
    prior : GaussianPrior
        Λ, the same for every unit of a layer.
    scale : float
        Noise precision, or 1.

    Raises
    ------
    ValueError
        If the prior's precision differs between the units of a layer.
    """

    mlp: MLP
    unit_eigen: tuple[tuple[np.ndarray, np.ndarray], ...]
    input_factors: tuple[np.ndarray, ...]
    prior: GaussianPrior
    scale: float

    def __post_init__(self) -> None:
        for layer, precision in enumerate(join_layers(self.mlp, self.prior.precision)):
            if np.any(precision != precision[0]):
                raise ValueError(
                    "KroneckerPosterior needs a prior whose precision is the same for every unit "
                    f'of a layer, which that of layer {layer} is not; use the prior "single", '
                    '"layer", "layer_kind" or "ard", or DensePosterior or DiagonalPosterior.'
                )

    @classmethod
    def from_curvature(
        cls, curvature: KFAC, prior: GaussianPrior, scale: float
    ) -> "KroneckerPrecision":
        """Decompose the units' factors; they do not depend on the hyperparameters."""
        factors = curvature.kronecker()
        eigen = [np.linalg.eigh(B) for B, _ in factors]
        pairs = tuple((b, U) for b, U in eigen)
        return cls(curvature.mlp, pairs, tuple(A for _, A in factors), prior, scale)

    def with_hyperparameters(self, prior: GaussianPrior, scale: float) -> "KroneckerPrecision":
        """Other hyperparameters: only the inputs' factors are decomposed again."""
        return replace(self, prior=prior, scale=scale)

    @cached_property
    def layers(self) -> tuple[LayerBasis, ...]:
        """The eigenbases of every layer.

        Raises
        ------
        NotPositiveDefiniteError
            If an eigenvalue of the whitened precision is not positive.
        """
        bases = []
        columns = join_layers(self.mlp, self.prior.precision)
        parts = zip(self.unit_eigen, self.input_factors, columns, strict=True)
        for (b, U), A, precision in parts:
            root = 1.0 / np.sqrt(precision[0])
            a, V = np.linalg.eigh(root[:, None] * A * root)
            strengths = self.scale * np.outer(b, a)
            if not strengths.min() > -1.0:
                name = "The whitened precision I + scale*B (x) D^-1/2 A D^-1/2"
                raise NotPositiveDefiniteError(name, float(1.0 + strengths.min()))
            bases.append(LayerBasis(U, V, strengths, root))
        return tuple(bases)

    @cached_property
    def logdet(self) -> float:
        """ln det A = Σ ln λ + Σ ln(1 + s)."""
        whitened = sum(np.sum(np.log1p(basis.strengths)) for basis in self.layers)
        return float(np.sum(np.log(self.prior.precision)) + whitened)

    def solve(self, V: np.ndarray) -> np.ndarray:
        """A⁻¹ V for V (P,) or (P, S)."""
        layers = zip(self.layers, join_layers(self.mlp, V.T), strict=True)
        parts = [basis.half_solve_transposed(basis.half_solve(X)) for basis, X in layers]
        return split_layers(self.mlp, parts).T

    def variance(self) -> np.ndarray:
        """diag A⁻¹, (P,)."""
        return split_layers(self.mlp, [basis.variance() for basis in self.layers])

    def squared_lengths(self, D: np.ndarray) -> np.ndarray:
        """dᵀA d of every row d of D (S, P), (S,)."""
        white = join_layers(self.mlp, D * np.sqrt(self.prior.precision))
        pairs = zip(self.layers, white, strict=True)
        return sum((basis.squared_lengths(X) for basis, X in pairs), np.zeros(len(D)))

    def n_effective_params(self) -> np.ndarray:
        """γ_g = Σ_{i∈g} (1 - λ_i (A⁻¹)_ii), (G,)."""
        share = split_layers(self.mlp, [basis.data_share() for basis in self.layers])
        return np.bincount(self.prior.groups, weights=share, minlength=self.prior.n_groups)


@dataclass(frozen=True)
class KroneckerPosterior(RegularisedPosterior):
    """Gaussian posterior whose layers are independent, each held by two small eigenbases.

    Layer l of A is scale·B_l ⊗ A_l + I ⊗ D_l (Ritter, Botev & Barber 2018, with the prior added
    exactly and not to the factors): O(n_out² + n_in²) numbers a layer. The prior's precision may
    differ between layers and inputs, and between weights and biases, but not between units.

    Parameters
    ----------
    theta_map : ndarray of shape (P,)
        The mean.
    regularised : KroneckerPrecision
        A in factored form; `from_curvature` builds it.

    Raises
    ------
    ValueError
        If the prior's precision differs between the units of a layer.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.curvature import KFAC
    >>> from laplace_nn.likelihoods import Gaussian
    >>> from laplace_nn.network import MLP
    >>> from laplace_nn.posterior import KroneckerPosterior
    >>> from laplace_nn.priors import single
    >>> from laplace_nn.rows import RowBlocks
    >>> rows, mlp = RowBlocks(np.array([[1.0], [2.0]]), np.zeros((2, 1))), MLP((1, 1))
    >>> H = KFAC(mlp, np.zeros(2), Gaussian(), rows)
    >>> posterior = KroneckerPosterior.from_curvature(np.zeros(2), H, single(mlp), 1.0)
    >>> bool(np.isclose(posterior.logdet_precision, np.log(6 * 3 - 3 * 3)))
    True
    """

    needs: ClassVar[frozenset[str]] = frozenset({"kronecker"})

    theta_map: np.ndarray
    regularised: KroneckerPrecision

    @classmethod
    def from_curvature(
        cls,
        theta_map: np.ndarray,
        curvature: Curvature | PositivePart,
        prior: GaussianPrior,
        scale: float,
    ) -> "KroneckerPosterior":
        """Take the curvature's Kronecker factors and decompose them."""
        require(curvature, cls.needs, cls.__name__)
        factors = cast(KFAC, curvature)
        return cls(theta_map, KroneckerPrecision.from_curvature(factors, prior, scale))

    def variance(self) -> np.ndarray:
        """diag A⁻¹, (P,)."""
        return self.regularised.variance()

    def functional_covariance(self, jacobian: LayerwiseJacobian, joint: bool = False) -> np.ndarray:
        """J A⁻¹ Jᵀ: (n, K, K), or (n·K, n·K) where joint."""
        if joint:
            return self._joint_covariance(jacobian)
        row_bytes = 8 * (2 * jacobian.shape[1] + 2) * (max(jacobian.mlp.layer_sizes) + 1)
        blocks = in_blocks(jacobian, row_bytes)
        return np.concatenate([self._row_covariances(block) for block in blocks])

    def _row_covariances(self, jacobian: LayerwiseJacobian) -> np.ndarray:
        """Σ_l (S U)_ki (S U)_k'i Σ_j (z D^-½ V)_j² / (1 + s_ij), (n, K, K)."""
        n_rows, n_outputs, _ = jacobian.shape
        result = np.zeros((n_rows, n_outputs, n_outputs))
        layers = zip(self.regularised.layers, jacobian.signals, jacobian.activations, strict=True)
        for basis, S, z in layers:
            signals, inputs = basis.rotate(S, z)
            unit_variance = (inputs**2) @ (1.0 / (1.0 + basis.strengths)).T  # (n, n_out)
            half = signals * np.sqrt(unit_variance)[:, None, :]
            result += half @ half.mT
        return result

    def _joint_covariance(self, jacobian: LayerwiseJacobian) -> np.ndarray:
        """The same for pairs of rows, one row with all others at a time, (n·K, n·K)."""
        n_rows, n_outputs, _ = jacobian.shape
        result = np.zeros((n_rows, n_outputs, n_rows * n_outputs))
        layers = zip(self.regularised.layers, jacobian.signals, jacobian.activations, strict=True)
        for basis, S, z in layers:
            signals, inputs = basis.rotate(S, z)
            shrunk = 1.0 / (1.0 + basis.strengths)
            for row in range(n_rows):
                pairs = (inputs * inputs[row]) @ shrunk.T  # (n, n_out)
                moved = (signals * pairs[:, None, :]).reshape(n_rows * n_outputs, -1)
                result[row] += signals[row] @ moved.T  # (K, n·K)
        covariance = result.reshape(n_rows * n_outputs, -1)
        return 0.5 * (covariance + covariance.T)

    def sample(self, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Draws θ = θ_map + Λ^-½ (U ⊗ V) (1 + s)^-½ ε, (n_samples, P)."""
        mlp, layers = self.regularised.mlp, self.regularised.layers
        noise = join_layers(mlp, rng.standard_normal((n_samples, len(self.theta_map))))
        parts = [b.half_solve_transposed(e) for b, e in zip(layers, noise, strict=True)]
        return self.theta_map + split_layers(mlp, parts)
