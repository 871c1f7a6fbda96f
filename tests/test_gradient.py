"""Gradients are what differences, and jax, say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from keramos import ops
from keramos.expr import ARITY, BOOLEAN, Expr, call, evaluate, operand, where
from keramos.gradient import GradientError, derivative, gradient
from keramos.graph import Graph, Value, apply, literal
from keramos.primitives import Conv, Reduce, Spec, Window

Array = NDArray[Any]

STEP = 1e-6
# Nothing is passed on through these, or they have no derivative.
PLAIN = sorted(set(ARITY) - BOOLEAN - {"where", "mod"})


def numbers(*shape: int, seed: int = 0) -> Array:
    random = np.random.default_rng(seed)
    signs: Array = random.choice([-1.0, 1.0], shape)
    return random.uniform(0.3, 0.9, shape) * signs


def weights(*shape: int) -> Value:
    return literal(numbers(*shape, seed=1).astype(np.float32))


@pytest.mark.parametrize("op", PLAIN)
def test_derivatives_are_the_limits_of_differences(op: str) -> None:
    # Positive, for the logarithm and powers.
    points = [np.linspace(0.31, 0.87, 5), np.linspace(0.93, 0.22, 5)][: ARITY[op]]
    expr = call(op, *(operand(k) for k in range(ARITY[op])))

    for index in range(ARITY[op]):
        ahead, behind = (
            [p + step * (k == index) for k, p in enumerate(points)]
            for step in (STEP, -STEP)
        )
        limit = (evaluate(expr, ahead) - evaluate(expr, behind)) / (2 * STEP)
        found = np.broadcast_to(evaluate(derivative(expr, index), points), limit.shape)
        assert np.allclose(found, limit, rtol=1e-5, atol=1e-8)


def test_a_choice_has_the_derivative_of_its_side() -> None:
    x = operand(0)
    expr: Expr = where(x > 0.0, x * x, x * 3.0)

    slope = evaluate(derivative(expr, 0), [np.array([-2.0, 2.0])])

    assert [*slope] == [3, 4]


def test_remainders_are_refused() -> None:
    with pytest.raises(GradientError, match="the function mod is on the way"):
        derivative(call("mod", operand(0), operand(1)), 0)


def pooled(
    kind: str, size: int, stride: int, pads: tuple[int, int]
) -> Any:  # noqa: ANN401
    def function(x: Value) -> Value:
        window = Window(kind, (size, size), (stride, stride), (pads, pads))  # type: ignore[arg-type]
        return apply(window, x)[0]

    return function


def convolved(strides: int, pads: tuple[int, int], **more: Any) -> Any:  # noqa: ANN401
    def function(x: Value) -> Value:
        groups, dilation = more.get("groups", 1), more.get("dilation", 1)
        spread = more.get("input_dilation", 1)
        conv = Conv((strides,) * 2, (pads,) * 2, (dilation,) * 2, (spread,) * 2, groups)
        return apply(conv, x, weights(3, 3, 4 // groups, 6))[0]

    return function


def reduced(kind: str, axes: tuple[int, ...]) -> Any:  # noqa: ANN401
    return lambda x: apply(Reduce(kind, axes), x)[0]  # type: ignore[arg-type]


FUNCTIONS: dict[str, Callable[[Value], Value]] = {
    "broadcasting": lambda x: x * weights(4) + ops.sum(x, (0, 1), keepdims=True),
    "flatten and dense": lambda x: ops.einsum(
        "a,ab->b", ops.reshape(x, (144,)), weights(144, 5)
    ),
    "weights in front": lambda x: ops.einsum("oc,hwc->hwo", weights(5, 4), x),
    "attention": lambda x: ops.einsum("hwc,hvc->hwv", x, ops.tanh(x)),
    "transpose": lambda x: ops.transpose(x, (2, 0, 1)) * weights(6, 6),
    "softmax": ops.softmax,
    "log softmax": ops.log_softmax,
    "mean": reduced("mean", (0, 1)),
    "sum": reduced("sum", (2,)),
    "max": reduced("max", (0, 1)),
    "min": reduced("min", (1,)),
    "concatenate": lambda x: ops.concatenate([x, ops.exp(x), x * 2.0], axis=0),
    "pad and slice": lambda x: ops.pad(x, [(1, 2), (0, 1), (0, 0)])[2:, :-2],
    "max pooling": pooled("max", 2, 2, (0, 0)),
    "max pooling with overlaps and a rest": pooled("max", 3, 2, (1, 0)),
    "mean pooling with padding": pooled("mean", 3, 2, (1, 1)),
    "sum pooling": pooled("sum", 2, 1, (0, 0)),
    "convolution": convolved(1, (1, 1)),
    "convolution with strides": convolved(2, (0, 1)),
    "convolution with groups": convolved(1, (0, 0), groups=2),
    "dilated convolution": convolved(1, (2, 2), dilation=2),
    "transposed convolution": convolved(1, (1, 2), input_dilation=2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_the_limits_of_differences(name: str) -> None:
    x = Value(Spec((6, 6, 4)), name="x")
    y = FUNCTIONS[name](x)
    seed = Value(y.spec, name="seed")
    given = numbers(1, 6, 6, 4, seed=2)
    factors = numbers(1, *(d or 0 for d in y.shape), seed=3)
    forward = Graph((x,), (y,), ("y",))
    backward = Graph((x, seed), (gradient(y, x, seed),), ("gradient",))
    backward.verify()

    (found,) = backward.evaluate(given, factors)

    one = np.eye(given.size).reshape(-1, *given.shape[1:]) * STEP
    ahead, behind = (forward.evaluate(given + step)[0] for step in (one, -one))
    limit = ((ahead - behind) * factors).reshape(given.size, -1).sum(1) / (2 * STEP)
    assert np.allclose(found.ravel(), limit, rtol=1e-4, atol=1e-6)


def test_relu_passes_nothing_on_at_zero_like_jax() -> None:
    x = Value(Spec((3,)), name="x")
    seed = Value(Spec((3,)), name="seed")
    given = np.array([[-1.0, 0.0, 2.0]], np.float32)

    (found,) = Graph((x, seed), (gradient(ops.relu(x), x, seed),), ("y",)).evaluate(
        given, np.ones((1, 3), np.float32)
    )

    expected = jax.grad(lambda v: jax.nn.relu(v).sum())(jnp.asarray(given))
    assert [*found.ravel()] == [*np.asarray(expected).ravel()]


def test_what_has_no_rule_is_named() -> None:
    x = Value(Spec((6, 4)), name="x")
    y = ops.resize(x, (0,), sizes=[12])

    with pytest.raises(GradientError, match="Resize is on the way"):
        gradient(y, x, Value(y.spec, name="seed"))


def test_what_does_not_lead_there_is_refused() -> None:
    x, z = (Value(Spec((4,)), name=name) for name in "xz")

    with pytest.raises(GradientError, match="doesn't depend on it"):
        gradient(ops.tanh(z), x, z)
