"""Ground floor: the network and its derivative passes (numpy and scipy only)."""

from laplace_nn.network.activations import (
    Activation,
    gelu,
    identity,
    logistic,
    relu,
    silu,
    softplus,
    tanh,
)
from laplace_nn.network.jacobian import LayerwiseJacobian, jacobian
from laplace_nn.network.mlp import MLP, Tape
from laplace_nn.network.passes import jvp, rvjp, second_jvp, vjp

__all__ = [
    "MLP",
    "Activation",
    "LayerwiseJacobian",
    "Tape",
    "gelu",
    "identity",
    "jacobian",
    "jvp",
    "logistic",
    "relu",
    "rvjp",
    "second_jvp",
    "silu",
    "softplus",
    "tanh",
    "vjp",
]
