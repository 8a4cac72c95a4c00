"""The loop of a search, and the optimizers that it can use."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.xla import arrow
from bimix_jax.xla.arrow import Layout, Symmetric

if TYPE_CHECKING:
    import optax


class _GaussNewtonState(NamedTuple):
    """The best point so far with its model of the objective, and the damping of that model."""

    anchor: Array
    value: Array
    gradient: Array
    hessian: Symmetric
    damping: Array


class _GaussNewton(NamedTuple):
    """An optax transformation that takes extra arguments, without the import of optax."""

    init: Callable[..., _GaussNewtonState]
    update: Callable[..., tuple[Array, _GaussNewtonState]]


def gauss_newton(
    initial_damping: float = 1e-3, decrease: float = 0.1, increase: float = 8.0
) -> "optax.GradientTransformationExtraArgs":
    """Levenberg-Marquardt: step = −(H + λ·diag H)⁻¹ g from the best point so far.

    λ is multiplied by `decrease` after a step that lowered the value and by `increase` after one
    that did not; a rejected step is undone by the next update, which starts from the best point,
    so that each update costs one evaluation. `update` needs `value` and `hessian` (any positive
    semidefinite model of the curvature) beside the gradient.

    Source: Marquardt 1963, "An Algorithm for Least-Squares Estimation of Nonlinear Parameters".

    >>> import jax.numpy as jnp
    >>> optimizer = gauss_newton(initial_damping=0.0)
    >>> x = jnp.array([3.0])
    >>> state = optimizer.init(x)
    >>> update = jax.jit(optimizer.update)
    >>> step, state = update(2 * x, state, x, value=x[0] ** 2, hessian=jnp.array([[2.0]]))
    >>> print(x + step)
    [0.]
    """
    import optax

    return optax.GradientTransformationExtraArgs(
        *_gauss_newton(initial_damping, decrease, increase)
    )


def _gauss_newton(
    initial_damping: float = 1e-3,
    decrease: float = 0.1,
    increase: float = 8.0,
    layout: Layout | None = None,
) -> _GaussNewton:
    """`gauss_newton`, whose hessians are arrows of the layout where that is given."""

    def init(params: Array) -> _GaussNewtonState:
        dtype = params.dtype
        unit = arrow.identity(layout, dtype) if layout else jnp.eye(len(params), dtype=dtype)
        return _GaussNewtonState(
            anchor=params,
            value=jnp.full((), jnp.inf, params.dtype),
            gradient=jnp.zeros_like(params),
            hessian=unit,
            # The first update accepts the start and multiplies by `decrease`.
            damping=jnp.full((), initial_damping / decrease, params.dtype),
        )

    def update(
        updates: Array,
        state: _GaussNewtonState,
        params: Array,
        *,
        value: Array,
        hessian: Symmetric,
        rounding: ArrayLike = 0.0,
        **unused: Any,
    ) -> tuple[Array, _GaussNewtonState]:
        slack = _slack(state.value, rounding)
        accepted = value <= state.value + slack
        state = _GaussNewtonState(
            anchor=jnp.where(accepted, params, state.anchor),
            value=jnp.where(accepted, value, state.value),
            gradient=jnp.where(accepted, updates, state.gradient),
            hessian=jax.tree.map(
                lambda new, old: jnp.where(accepted, new, old), hessian, state.hessian
            ),
            damping=state.damping * jnp.where(accepted, decrease, increase),
        )
        step = _damped_step(state.hessian, state.gradient, state.damping)
        return state.anchor + step - params, state

    return _GaussNewton(init, update)


def _damped_step(hessian: Symmetric, gradient: Array, damping: Array) -> Array:
    damped = arrow.plus_diagonal(hessian, damping * arrow.diagonal(hessian))
    step = -arrow.solve(damped, gradient)
    # A zero step is rejected or accepted harmlessly, where nan would destroy the anchor.
    return jnp.where(jnp.isfinite(step), step, 0.0)


DEFAULT_OPTIMIZER = _gauss_newton()
"""One object, so that fits with the default share their compilations. It does without optax, whose
import takes longer than a fit."""


def default_optimizer(layout: Layout) -> _GaussNewton:
    """The default of targets that share parameters, whose hessians are arrows."""
    return _gauss_newton(layout=layout)


ROUNDING = 32
"""Number of machine epsilons (relative) within which values count as equal."""


def _slack(value: Array, rounding: ArrayLike) -> Array:
    """Difference within which values count as equal."""
    # A value that rounding made too low would otherwise refuse every further step.
    return jnp.maximum(ROUNDING * jnp.finfo(value.dtype).eps * jnp.abs(value), rounding)


class Evaluated(NamedTuple):
    """An objective at one point, as the loop needs it."""

    value: Array
    """() the minimised value."""
    gradient: Array
    """(parameters,) with 0 where a bound holds the parameter."""
    hessian: Symmetric
    """(parameters, parameters) model of the curvature, identity where a bound holds."""
    measure: Array
    """() distance from stationarity, dimensionless; the loop stops below the tolerance."""
    extra: Any = ()
    """Further values of the best point for the caller."""
    rounding: ArrayLike = 0.0
    """() rounding error of the value, where it is more than of a number of its size: residuals are
    differences of numbers that may be much larger."""


class Minimum(NamedTuple):
    """The best point a search met."""

    params: Array
    evaluation: Evaluated
    steps: Array


Objective = Callable[[Array], Evaluated]


def minimize(
    objective: Objective,
    start: Array,
    bounds: tuple[Array, Array],
    optimizer: "optax.GradientTransformation | _GaussNewton",
    tolerance: ArrayLike,
    max_steps: int,
    known: Evaluated | None = None,
) -> Minimum:
    """Minimise from `start` (parameters,) within bounds (lower, upper) until `measure` ≤ tolerance.

    `optimizer` is any optax transformation; it receives value, grad, value_fn and hessian as extra
    arguments. The objective at the start may be `known`. The search also ends when the objective is
    not finite at the start, or after max_steps evaluations. It is not differentiable in reverse
    mode: differentiate at the solution instead.
    """
    # Traced once, where every `vmap` around the loop would trace them some times more.
    objective = jax.jit(objective)
    extended = _with_extra_args(optimizer)

    def value_of(params: Array, hessian: Any = None, rounding: Any = None) -> Array:
        # A line search of optax wants every extra argument named by the function it searches.
        return objective(params).value

    @jax.jit
    def step(carry: tuple[Array, Any, Minimum]) -> tuple[Array, Any, Minimum]:
        return advance(carry, objective(carry[0]))

    def advance(carry: tuple[Array, Any, Minimum], now: Evaluated) -> tuple[Array, Any, Minimum]:
        params, state, best = carry
        best = _better(best, params, now)
        change, state = extended.update(
            now.gradient,
            state,
            params,
            value=now.value,
            grad=now.gradient,
            value_fn=value_of,
            hessian=now.hessian,
            rounding=now.rounding,
        )
        return jnp.clip(params + change, *bounds), state, best

    def unfinished(carry: tuple[Array, Any, Minimum]) -> Array:
        best = carry[2]
        # Without a finite value at the start there is no step, so the loop would never move.
        hopeless = (best.steps > 0) & ~jnp.isfinite(best.evaluation.value)
        return ~(best.evaluation.measure <= tolerance) & ~hopeless & (best.steps < max_steps)

    start = jnp.clip(start, *bounds)
    first = (start, extended.init(start), _nothing_yet(objective, start))
    first = first if known is None else advance(first, known)
    return jax.lax.while_loop(unfinished, step, first)[2]


def _with_extra_args(optimizer: Any) -> Any:
    if isinstance(optimizer, _GaussNewton):
        return optimizer
    import optax

    return optax.with_extra_args_support(optimizer)


def _nothing_yet(objective: Objective, start: Array) -> Minimum:
    shapes = jax.eval_shape(objective, start)
    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    worst = jnp.full((), jnp.inf, start.dtype)
    return Minimum(start, blank._replace(value=worst, measure=worst), jnp.zeros((), jnp.int32))


def _better(best: Minimum, params: Array, now: Evaluated) -> Minimum:
    slack = _slack(best.evaluation.value, best.evaluation.rounding)
    lower = now.value < best.evaluation.value - slack
    equal = now.value <= best.evaluation.value + slack
    # Among values equal to rounding, the flatter point is closer to the optimum.
    lower |= equal & (now.measure <= best.evaluation.measure)
    params, evaluation = jax.tree.map(
        lambda new, old: jnp.where(lower, new, old),
        (params, now),
        (best.params, best.evaluation),
    )
    return Minimum(params, evaluation, best.steps + 1)
