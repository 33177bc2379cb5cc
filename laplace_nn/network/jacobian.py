"""The network's Jacobian in factored form, layer by layer: J_n = S_l ⊗ z_{l-1}.

A row's derivative with respect to a weight matrix is the outer product of a signal and an
activation, so the N·K x P matrix is never needed to multiply with it: products cost a pass,
and Gram matrices cost one product of signals times one product of activations a layer.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from laplace_nn.network.mlp import MLP, Tape

__all__ = ["LayerwiseJacobian", "Rectangle", "jacobian", "rectangles"]


@dataclass(frozen=True)
class Rectangle:
    """Weights of one layer and one group that form a rectangle: units x columns.

    Column ``n_in`` of a layer stands for its bias, whose input is the constant 1.
    """

    group: int
    layer: int
    units: tuple[int, ...]
    columns: tuple[int, ...]


def _layer_rectangles(layer: int, groups: np.ndarray) -> Iterator[Rectangle]:
    """Rectangles that cover a layer's (n_out, n_in + 1) group labels without overlap."""
    for group in np.unique(groups):
        members = groups == group
        patterns, owner = np.unique(members, axis=0, return_inverse=True)
        for index, pattern in enumerate(patterns):
            if pattern.any():
                units = np.flatnonzero(owner.ravel() == index)
                yield Rectangle(
                    int(group),
                    layer,
                    tuple(units.tolist()),
                    tuple(np.flatnonzero(pattern).tolist()),
                )


@lru_cache(maxsize=32)
def _cached_rectangles(mlp: MLP, labels: bytes) -> tuple[Rectangle, ...]:
    groups = np.frombuffer(labels, dtype=np.intp)
    found: list[Rectangle] = []
    for layer, (W, b) in enumerate(mlp.unpack(groups)):
        found.extend(_layer_rectangles(layer, np.column_stack([W, b])))
    return tuple(found)


def rectangles(mlp: MLP, groups: np.ndarray) -> tuple[Rectangle, ...]:
    """Cut weight groups into rectangles, on which F_g F_gᵀ is (S Sᵀ) ∘ (z zᵀ).

    Parameters
    ----------
    mlp : MLP
        The network.
    groups : ndarray of int, shape (P,)
        The group of every weight.

    Returns
    -------
    tuple of Rectangle
        Non-overlapping, covering every weight once.
    """
    return _cached_rectangles(mlp, np.ascontiguousarray(groups, dtype=np.intp).tobytes())


@dataclass(frozen=True)
class LayerwiseJacobian:
    """Rows of R linear functionals of the weights each, held as signals and activations.

    J_n[r, (l, j, i)] = S_l[n, r, j] z_{l-1}[n, i] (PRML 5.53 with the outputs in place of E).

    Parameters
    ----------
    mlp : MLP
        The network.
    signals : tuple of ndarray, each (N, R, n_out)
        S_l, the derivative of the R outputs with respect to layer l's pre-activations.
    activations : tuple of ndarray, each (N, n_in)
        The input of every layer.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.network import MLP, jacobian
    >>> mlp, theta = MLP((1, 1)), np.array([2.0, 0.5])
    >>> jacobian(mlp, theta, mlp.forward(theta, np.array([[3.0]]))).dense()
    array([[[3., 1.]]])
    """

    mlp: MLP
    signals: tuple[np.ndarray, ...]
    activations: tuple[np.ndarray, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, R, P)."""
        n_rows, n_functionals, _ = self.signals[0].shape
        return n_rows, n_functionals, self.mlp.n_params

    def __getitem__(self, rows: slice) -> "LayerwiseJacobian":
        """The same functionals for a slice of the rows."""
        return replace(
            self,
            signals=tuple(S[rows] for S in self.signals),
            activations=tuple(z[rows] for z in self.activations),
        )

    def dense(self) -> np.ndarray:
        """The whole array, (N, R, P), in Fortran order of (N·R, P)."""
        n_rows, n_functionals, n_params = self.shape
        out = np.empty((n_params, n_rows, n_functionals))  # rows are longer than layers are wide
        for (weights, biases), shape, S, z in self._layers():
            signals, inputs = np.ascontiguousarray(S.transpose(2, 0, 1)), np.ascontiguousarray(z.T)
            view = out[weights].reshape(*shape, n_rows, n_functionals)
            np.multiply(signals[:, None], inputs[:, :, None], out=view)  # (n_out, n_in, N, R)
            out[biases] = signals
        return out.transpose(1, 2, 0)

    def matvec(self, v: np.ndarray) -> np.ndarray:
        """J v for v (..., P), as (..., N, R)."""
        result: np.ndarray | float = 0.0
        for (V, c), S, z in zip(self.mlp.unpack(v), self.signals, self.activations, strict=True):
            moved = z @ V.swapaxes(-1, -2) + c[..., None, :]  # (..., N, n_out)
            result = result + (S @ moved[..., None])[..., 0]
        return np.asarray(result)

    def rmatvec(self, u: np.ndarray) -> np.ndarray:
        """Jᵀ u for u (..., N, R), as (..., P)."""
        layers = []
        for S, z in zip(self.signals, self.activations, strict=True):
            delta = (u[..., None, :] @ S)[..., 0, :]  # (..., N, n_out)
            layers.append((delta.swapaxes(-1, -2) @ z, delta.sum(axis=-2)))
        return self.mlp.pack(layers)

    def gram(self, variances: np.ndarray, other: "LayerwiseJacobian | None" = None) -> np.ndarray:
        """J diag(v) J'ᵀ for a variance of every weight, never forming J.

        Σ over layers of (S u Sᵀ) ∘ (z c zᵀ), where v = u ⊗ c; a layer whose units differ in more
        than their scale u takes a product for each distinct c.

        Parameters
        ----------
        variances : ndarray of shape (P,)
            v > 0, of every weight.
        other : LayerwiseJacobian, optional
            J'; J itself if not given.

        Returns
        -------
        ndarray of shape (N·R, N'·R')
            Rows and their functionals in one index.
        """
        right = self if other is None else other
        (n, r, _), (m, s, _) = self.shape, right.shape
        total = np.zeros((n, r, m, s))
        for layer, (units, scales, columns) in self._factored(variances):
            S, z = self._half(layer, units, scales, columns)
            # The very same array on both sides is a symmetric product, of half the work.
            T, x = (S, z) if right is self else right._half(layer, units, scales, columns)
            inputs = z @ x.T  # (N, N')
            part = (S @ T.T).reshape(n, r, m, s)
            part *= inputs[:, None, :, None]
            total += part
        return total.reshape(n * r, m * s)

    def row_grams(self, variances: np.ndarray) -> np.ndarray:
        """J_n diag(v) J_nᵀ of every row, for v (P,), as (N, R, R)."""
        n_rows, n_functionals, _ = self.shape
        result = np.zeros((n_rows, n_functionals, n_functionals))
        for layer, (units, scales, columns) in self._factored(variances):
            S, z = self.signals[layer][..., units], _with_one(self.activations[layer])
            size = np.einsum("ni,i,ni->n", z, columns, z)
            result += ((S * scales) @ S.swapaxes(-1, -2)) * size[:, None, None]
        return result

    def overlaps(self, matrix: np.ndarray, groups: np.ndarray, n_groups: int) -> np.ndarray:
        """tr(C J_g J_gᵀ) of every weight group g for a symmetric C, never forming J, (G,).

        Σ over a group's rectangles of Σ_nm C_nm (S Sᵀ)_nm (z zᵀ)_nm.

        Parameters
        ----------
        matrix : ndarray of shape (N·R, N·R)
            C.
        groups : ndarray of int, shape (P,)
            The group of every weight.
        n_groups : int
            Number of groups, G.
        """
        n, r, _ = self.shape
        found, weighed = np.zeros(n_groups), {}
        for part in rectangles(self.mlp, groups):
            key = (part.layer, part.units)
            if key not in weighed:
                S = self.signals[part.layer][..., list(part.units)].reshape(n * r, -1)
                weighed[key] = ((S @ S.T) * matrix).reshape(n, r, n, r).sum(axis=(1, 3))
            z = _with_one(self.activations[part.layer])[:, list(part.columns)]
            found[part.group] += np.vdot(weighed[key] @ z, z)
        return found

    def _factored(
        self, variances: np.ndarray
    ) -> Iterator[tuple[int, tuple[np.ndarray | slice, np.ndarray, np.ndarray]]]:
        """Each layer's variances as u ⊗ c: units, their scales u, and c of inputs and bias."""
        for layer, (W, b) in enumerate(self.mlp.unpack(variances)):
            table = np.column_stack([W, b])  # (n_out, n_in + 1)
            scales = table[:, 0].copy()
            table /= scales[:, None]
            if np.all(table == table[0]):
                yield layer, (slice(None), scales, table[0])
                continue
            patterns, owner = np.unique(table, axis=0, return_inverse=True)
            for index, columns in enumerate(patterns):
                units = np.flatnonzero(owner.ravel() == index)
                yield layer, (units, scales[units], columns)

    def _half(
        self, layer: int, units: np.ndarray | slice, scales: np.ndarray, columns: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """A layer's signals times √u, (N·R, n_units), and its inputs times √c, (N, n_in + 1)."""
        S = (self.signals[layer][..., units] * np.sqrt(scales)).reshape(-1, len(scales))
        return S, _with_one(self.activations[layer]) * np.sqrt(columns)

    def _layers(
        self,
    ) -> Iterator[tuple[tuple[slice, slice], tuple[int, int], np.ndarray, np.ndarray]]:
        return zip(
            self.mlp.slices, self.mlp.layer_shapes, self.signals, self.activations, strict=True
        )


def _with_one(z: np.ndarray) -> np.ndarray:
    """Activations (N, n_in) with the bias's input, (N, n_in + 1)."""
    return np.column_stack([z, np.ones(len(z))])


def jacobian(
    mlp: MLP, theta: np.ndarray, tape: Tape, functionals: np.ndarray | None = None
) -> LayerwiseJacobian:
    """Backpropagate R functionals of the outputs, keeping every layer's signals.

    S_L = the functionals, S_l = (S_{l+1} W_{l+1}) ∘ h'(a_l).

    Parameters
    ----------
    mlp : MLP
        The network.
    theta : ndarray of shape (P,)
        Its weights.
    tape : Tape
        The forward pass of the rows at ``theta``.
    functionals : ndarray of shape (N, R, K), optional
        What to differentiate: the outputs themselves (the identity) if not given; with a root
        of the output Hessian, Rᵀ R = M, the result is F with FᵀF = Σ J_nᵀ M_n J_n.

    Returns
    -------
    LayerwiseJacobian
        In factored form.
    """
    n_rows, n_outputs = tape.outputs.shape
    if functionals is None:
        functionals = np.broadcast_to(np.eye(n_outputs), (n_rows, n_outputs, n_outputs))
    signals = [functionals]
    layers = mlp.unpack(theta)
    for index in range(mlp.n_layers - 1, 0, -1):
        signals.append((signals[-1] @ layers[index][0]) * tape.slopes[index - 1][:, None, :])
    return LayerwiseJacobian(mlp, tuple(signals[::-1]), tape.activations)
