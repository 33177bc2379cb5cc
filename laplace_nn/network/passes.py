"""Derivative passes: forward (R), backward, and the R-pass of the backward pass.

Every function takes the network, its weights, a `Tape` of the same weights, and vectors. A
direction v may carry leading axes, (..., P): the passes are then made for all of them at once.
"""

import numpy as np

from laplace_nn.network.mlp import MLP, Tape

__all__ = ["jvp", "rvjp", "second_jvp", "vjp"]


def _forward_directions(
    mlp: MLP, theta: np.ndarray, tape: Tape, v: np.ndarray
) -> tuple[list[np.ndarray | None], list[np.ndarray]]:
    """R{z} (None for the inputs, which do not move) and R{a} of every layer (PRML 5.101-5.103)."""
    r_activations: list[np.ndarray | None] = [None]
    r_pre_activations: list[np.ndarray] = []
    for index, ((W, _), (V, c)) in enumerate(zip(mlp.unpack(theta), mlp.unpack(v), strict=True)):
        r_z = r_activations[-1]
        r_a = tape.activations[index] @ V.swapaxes(-1, -2) + c[..., None, :]  # (..., N, out)
        if r_z is not None:
            r_a = r_a + r_z @ W.T
        r_pre_activations.append(r_a)
        if index + 1 < mlp.n_layers:
            r_activations.append(tape.slopes[index] * r_a)
    return r_activations, r_pre_activations


def jvp(mlp: MLP, theta: np.ndarray, tape: Tape, v: np.ndarray) -> np.ndarray:
    """Directional derivative of the outputs, J v.

    R{a_L}, PRML 5.101-5.103.

    Parameters
    ----------
    mlp : MLP
        The network.
    theta : ndarray of shape (P,)
        Its weights.
    tape : Tape
        The forward pass of the rows at ``theta``.
    v : ndarray of shape (..., P)
        Directions in weight space.

    Returns
    -------
    ndarray of shape (..., N, K)
        The outputs' rates of change along v.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.network import MLP, jvp
    >>> mlp = MLP((1, 1))
    >>> tape = mlp.forward(np.array([2.0, 0.5]), np.array([[3.0]]))
    >>> jvp(mlp, np.array([2.0, 0.5]), tape, np.array([1.0, 0.0]))
    array([[3.]])
    """
    return _forward_directions(mlp, theta, tape, v)[1][-1]


def second_jvp(mlp: MLP, theta: np.ndarray, tape: Tape, v: np.ndarray) -> np.ndarray:
    """Second directional derivative of the outputs, Σ_ij v_i v_j ∂²f/∂w_i∂w_j.

    R²{a_l} = W_l R²{z_{l-1}} + 2 V_l R{z_{l-1}}, R²{z} = h''(a) R{a}² + h'(a) R²{a}: the
    operator of PRML 5.96 applied twice to forward propagation.

    Parameters
    ----------
    mlp : MLP
        The network.
    theta : ndarray of shape (P,)
        Its weights.
    tape : Tape
        The forward pass of the rows at ``theta``.
    v : ndarray of shape (P,)
        A direction in weight space.

    Returns
    -------
    ndarray of shape (N, K)
        How the outputs curve along v.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.network import MLP, second_jvp
    >>> mlp = MLP((1, 1))
    >>> tape = mlp.forward(np.array([2.0, 0.5]), np.array([[3.0]]))
    >>> second_jvp(mlp, np.array([2.0, 0.5]), tape, np.array([1.0, 0.0]))
    array([[0.]])
    """
    r_activations, r_pre_activations = _forward_directions(mlp, theta, tape, v)
    curved = np.zeros_like(r_pre_activations[0])  # R²{a_1}: the first layer is linear in w
    layers = zip(mlp.unpack(theta)[1:], mlp.unpack(v)[1:], strict=True)
    for index, ((W, _), (V, _)) in enumerate(layers):
        r_a, r_z = r_pre_activations[index], r_activations[index + 1]
        rr_z = tape.bends[index] * r_a * r_a + tape.slopes[index] * curved  # (N, n_l)
        curved = rr_z @ W.T + 2.0 * (np.asarray(r_z) @ V.T)
    return curved


def vjp(mlp: MLP, theta: np.ndarray, tape: Tape, u: np.ndarray) -> np.ndarray:
    """Backpropagation of output signals, Jᵀ u summed over rows.

    δ_l = h'(a_l) ∘ (δ_{l+1} W_{l+1}), ∂/∂W_l = δ_lᵀ z_{l-1} (PRML 5.53, 5.56).

    Parameters
    ----------
    mlp : MLP
        The network.
    theta : ndarray of shape (P,)
        Its weights.
    tape : Tape
        The forward pass of the rows at ``theta``.
    u : ndarray of shape (..., N, K)
        Signals at the outputs; with u = ∂E/∂a_L the result is the gradient of E.

    Returns
    -------
    ndarray of shape (..., P)
        Σ_n J_nᵀ u_n.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.network import MLP, vjp
    >>> mlp = MLP((1, 1))
    >>> tape = mlp.forward(np.array([2.0, 0.5]), np.array([[3.0]]))
    >>> vjp(mlp, np.array([2.0, 0.5]), tape, np.array([[1.0]]))
    array([3., 1.])
    """
    layers, ones = mlp.unpack(theta), np.ones(u.shape[-2])
    delta, gradients = u, []
    for index in range(mlp.n_layers - 1, -1, -1):
        gradients.append((delta.swapaxes(-1, -2) @ tape.activations[index], ones @ delta))
        if index > 0:
            W = layers[index][0]
            # BLAS is slow with the outer product that it is for one output.
            delta = delta * W if len(W) == 1 else delta @ W  # (..., N, n_in)
            delta *= tape.slopes[index - 1]
    return mlp.pack(gradients[::-1])


def rvjp(
    mlp: MLP,
    theta: np.ndarray,
    tape: Tape,
    u: np.ndarray,
    v: np.ndarray,
    output_hessian: np.ndarray,
) -> np.ndarray:
    """Product of the exact Hessian with v by the R-operator.

    H v = R{∇E}, PRML 5.104-5.111, for any depth and any output Hessian M.

    Parameters
    ----------
    mlp : MLP
        The network.
    theta : ndarray of shape (P,)
        Its weights.
    tape : Tape
        The forward pass of the rows at ``theta``.
    u : ndarray of shape (N, K)
        ∂E_n/∂a_L, the output signals of the gradient.
    v : ndarray of shape (..., P)
        Directions in weight space.
    output_hessian : ndarray of shape (N, K, K)
        M_n = ∂²E_n/∂a_L², so that R{δ_L} = M R{a_L} (PRML 5.106).

    Returns
    -------
    ndarray of shape (..., P)
        Σ_n H_n v.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.network import MLP, rvjp
    >>> mlp, theta = MLP((1, 1)), np.array([2.0, 0.5])
    >>> tape = mlp.forward(theta, np.array([[3.0]]))
    >>> rvjp(mlp, theta, tape, np.zeros((1, 1)), np.array([1.0, 0.0]), np.ones((1, 1, 1)))
    array([9., 3.])
    """
    layers, directions = mlp.unpack(theta), mlp.unpack(v)
    r_activations, r_pre_activations = _forward_directions(mlp, theta, tape, v)
    delta = u
    r_delta = np.einsum("nkj,...nj->...nk", output_hessian, r_pre_activations[-1])
    gradients = []
    for index in range(mlp.n_layers - 1, -1, -1):
        r_weights = r_delta.swapaxes(-1, -2) @ tape.activations[index]
        r_z = r_activations[index]
        if r_z is not None:
            r_weights = r_weights + delta.T @ r_z  # PRML 5.110
        gradients.append((r_weights, r_delta.sum(axis=-2)))
        if index > 0:
            W, V = layers[index][0], directions[index][0]
            slope, bend = tape.slopes[index - 1], tape.bends[index - 1]
            back = delta @ W
            # PRML 5.107, its three terms.
            r_delta = (
                bend * r_pre_activations[index - 1] * back
                + slope * (delta @ V)
                + slope * (r_delta @ W)
            )
            delta = slope * back
    return mlp.pack(gradients[::-1])
