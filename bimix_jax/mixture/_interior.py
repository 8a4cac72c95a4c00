"""Interior-point minimum of a smooth objective under smooth constraints (primal-dual).

The steps of the search, written once for NumPy and for JAX: the former decides for one fit, the
latter for batches of fits. Arrays may have a leading axis of members that are searched together.

Source: Wächter and Biegler, "On the implementation of an interior-point filter line-search
algorithm for large-scale nonlinear programming", Mathematical Programming 106 (2006), with a merit
function instead of the filter (Nocedal and Wright, "Numerical Optimization", chapter 19).
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

MAX_STEPS = 100
"""Largest number of Newton steps; a search that needs more counts as not converged."""
HALVINGS = 14
"""Number of step lengths that a line search tries, down to 0.5¹³ = 1e-4 of the longest."""
TO_THE_BOUNDARY = 0.99
"""Largest share of the distance to a bound that a step covers, as in Wächter and Biegler."""


class Box(NamedTuple):
    """Bounds and equations of all variables; those with equal bounds are not free."""

    lower: Any
    upper: Any
    free: Any
    equal: Any
    equal_to: Any


class Around(NamedTuple):
    """Objective f and rows h ≤ 0 at a point, with their derivatives."""

    value: Any
    """(…) f"""
    gradient: Any
    """(…, variables) ∇f"""
    rows: Any
    """(…, rows) h"""
    jacobian: Any
    """(…, rows, variables) ∇h"""
    hessian: Any = None
    """(…, variables, variables) ∇²(f + z·h), where it comes with the rest"""


class Model(Protocol):
    """A problem in units in which slopes and multipliers are about 1, and its arithmetic.

    In these units barriers and tolerances are pure numbers.
    """

    @property
    def xp(self) -> Any:
        """Module of the arrays: `numpy` or `jax.numpy`."""

    @property
    def box(self) -> Box:
        """Bounds and equations."""

    @property
    def convex(self) -> bool:
        """True where value and rows are convex: steps are full, and curvature is not corrected."""

    def around(self, x: Any, multipliers: Any) -> Around:
        """Compute objective and rows at variables (…, variables)."""

    def hessian(self, x: Any, multipliers: Any, around: Around) -> Any:
        """(…, variables, variables) ∇²(f + z·h) at multipliers z (…, rows)."""

    def inverse(self, matrix: Any) -> Callable[[Any], Any]:
        """Build sides (…, variables, sides) → matrix⁻¹·sides; the matrix has a unit diagonal.

        It is positive definite up to rounding in a convex problem. In others it is made so.
        """

    def gram(self, matrix: Any, weights: Any) -> Any:
        """(…, n, n) Σ_i weight_i · row_i·row_iᵀ of matrices (…, m, n) and weights (…, m)."""

    def first(self, enough: Callable[[Any], Any], count: int) -> Any:
        """(…) least k < count with enough(k) (…), count − 1 where none is."""

    def either(self, accepted: Any, one: Any, other: Callable[[], Any]) -> Any:
        """(…) `one` where `accepted`, elsewhere `other()`."""


class Iterate(NamedTuple):
    """A point of the search: variables, slacks, the multipliers of rows and bounds, barrier."""

    x: Any
    slack: Any
    rows: Any
    at_lower: Any
    at_upper: Any
    barrier: Any
    error: Any
    """(…) 0 at an optimum, else the largest residual of its conditions"""
    steps: Any
    around: Around


class _Direction(NamedTuple):
    """A Newton step: changes of the variables, slacks and multipliers of an iterate."""

    x: Any
    slack: Any
    rows: Any
    at_lower: Any
    at_upper: Any
    equations: Any
    """(…, equations) their multipliers after the step, which no barrier term contains"""


def unfinished(state: Iterate) -> Any:
    """(…) bool: True where the search goes on."""
    # Not `error > 0`: a search that meets nan goes on to the last step, and its error stays nan.
    return (state.steps < MAX_STEPS) & ~(state.error <= 0)


def first_iterate(model: Model, start: Any, rows: Any) -> Iterate:
    """Begin at variables (…, variables) inside the bounds, where the rows are `rows` (…, rows)."""
    xp = model.xp
    # Slacks start positive even where a row is violated; the search closes the difference.
    slack = xp.maximum(-rows, 0.01)
    barrier = xp.full(start.shape[:-1], 0.01, start.dtype)
    to_lower, to_upper = distances(model, start)
    # Multipliers barrier/distance put the start on the central path, as far as bounds go.
    each = barrier[..., None]
    return Iterate(
        start,
        slack,
        each / slack,
        each / to_lower,
        each / to_upper,
        barrier,
        xp.full_like(barrier, xp.inf),
        xp.zeros(barrier.shape, int),
        model.around(start, each / slack),
    )


def distances(model: Model, x: Any) -> tuple[Any, Any]:
    """Distances to the bounds; infinite without a bound and for fixed variables."""
    xp, box = model.xp, model.box
    return (
        xp.where(box.free, x - box.lower, xp.inf),
        xp.where(box.free, box.upper - x, xp.inf),
    )


def step(model: Model, least: float, state: Iterate) -> Iterate:
    """Take one Newton step, and lower the barrier, to no less than `least`, where it is due."""
    change = _direction(model, state)
    to_lower, to_upper = distances(model, state.x)
    # Primal and dual variables have step lengths of their own, as in Wächter and Biegler.
    primal = _longest(
        model, (to_lower, change.x), (to_upper, -change.x), (state.slack, change.slack)
    )
    dual = _longest(
        model,
        (state.rows, change.rows),
        (state.at_lower, change.at_lower),
        (state.at_upper, change.at_upper),
    )

    def moved(length: Any) -> Iterate:
        return _moved(model, state, change, length, dual)

    end = moved(primal)
    if not model.convex:
        # Curved rows make the merit refuse the very steps that converge fastest (Maratos).
        now, after = (_error(model, s, change.equations)[0] for s in (state, end))
        better = after <= 0.9 * now
        length = model.either(
            better, primal, lambda: _line_search(model, state, change, primal, dual)
        )
        end = moved(length)
    # Steps this small cannot lower the error further in this precision.
    still = model.xp.max(model.xp.abs(change.x), axis=-1) <= 0.1 * least
    return _next_barrier(model, least, end, *_error(model, end, change.equations), still)


def _moved(model: Model, state: Iterate, change: _Direction, length: Any, dual: Any) -> Iterate:
    """Follow a direction by a primal and a dual length, (…) each."""
    length, dual = length[..., None], dual[..., None]
    x, rows = state.x + length * change.x, state.rows + dual * change.rows
    around = model.around(x, rows)
    return state._replace(
        x=x,
        # A row that is satisfied by more than its slack takes what there is.
        slack=model.xp.maximum(state.slack + length * change.slack, -around.rows),
        rows=rows,
        at_lower=state.at_lower + dual * change.at_lower,
        at_upper=state.at_upper + dual * change.at_upper,
        steps=state.steps + 1,
        around=around,
    )


def _direction(model: Model, state: Iterate) -> _Direction:
    """Newton step for the conditions of the barrier problem.

    With f the value, h the rows, J their Jacobian, s slacks, E·x = e the equations, and multipliers
    z, a, b, y of rows, lower bounds l, upper bounds u and equations, the conditions are

        ∇f + Jᵀz − a + b + Eᵀy = 0,  h + s = 0,  E·x = e,
        z·s = a·(x − l) = b·(u − x) = μ, elementwise.

    Linearised, all changes but Δx and the new y are eliminated, Δs = −(h + s) − J Δx, Δz = (μ − z
    Δs)/s − z, Δa = (μ − a Δx)/(x − l) − a, Δb = (μ + b Δx)/(u − x) − b, which leaves

        M Δx + Eᵀy = −(∇f + Jᵀ(μ + z (h + s))/s − μ/(x − l) + μ/(u − x)),  E Δx = e − E·x

    with M of `barrier_curvature`.
    """
    around, barrier = state.around, state.barrier[..., None]
    to_lower, to_upper = distances(model, state.x)
    residual = around.rows + state.slack
    slope = (
        around.gradient
        - barrier / to_lower
        + barrier / to_upper
        + _times((barrier + state.rows * residual) / state.slack, around.jacobian)
    )
    missed = model.box.equal_to - _on(model.box.equal, state.x)
    change, equations = constrained_solve(model, barrier_curvature(model, state), -slope, missed)
    slack_change = -residual - _on(around.jacobian, change)
    return _Direction(
        change,
        slack_change,
        (barrier - state.rows * slack_change) / state.slack - state.rows,
        (barrier - state.at_lower * change) / to_lower - state.at_lower,
        (barrier + state.at_upper * change) / to_upper - state.at_upper,
        equations,
    )


def _times(row: Any, matrix: Any) -> Any:
    """row·matrix, of (…, n) and (…, n, m)."""
    return (row[..., None, :] @ matrix)[..., 0, :]


def _on(matrix: Any, column: Any) -> Any:
    """matrix·column, of (…, n, m) and (…, m)."""
    return (matrix @ column[..., None])[..., 0]


def barrier_curvature(model: Model, state: Iterate) -> Any:
    """M = ∇²(f + z·h) + Jᵀ diag(z/s) J + diag(a/(x − l) + b/(u − x)), as in `_direction`."""
    xp = model.xp
    to_lower, to_upper = distances(model, state.x)
    # The eliminated slacks and bound multipliers leave terms multiplier/distance.
    bounds = state.at_lower / to_lower + state.at_upper / to_upper
    of_rows = model.gram(state.around.jacobian, state.rows / state.slack)
    identity = xp.eye(state.x.shape[-1], dtype=state.x.dtype)
    hessian = model.hessian(state.x, state.rows, state.around)
    return hessian + of_rows + bounds[..., None] * identity


def constrained_solve(model: Model, matrix: Any, right: Any, missed: Any) -> tuple[Any, Any]:
    """Solve matrix·x + equalᵀ·y = right and equal·x = missed for x and y; fixed variables stay."""
    # Block elimination: x = M⁻¹(right − Eᵀy) in E·x = missed is E M⁻¹Eᵀ·y = E M⁻¹ right − missed.
    xp, box = model.xp, model.box
    both = box.free[:, None] & box.free
    matrix = xp.where(both, matrix, xp.eye(len(box.free), dtype=matrix.dtype))
    solve = _positive_solver(model, matrix)
    # Apart, because only the first is linear in what is differentiated.
    plain = solve(xp.where(box.free, right, 0.0)[..., None])[..., 0]
    spread = solve(box.equal.T)
    # Rows of zeros pad the equations; a 1 on their diagonal makes their multiplier 0.
    unused = xp.all(box.equal == 0, axis=1)
    between = box.equal @ spread + xp.diag(unused.astype(matrix.dtype))
    right_between = (_on(box.equal, plain) - missed)[..., None]
    equations = xp.linalg.solve(between, right_between)[..., 0]
    return plain - _on(spread, equations), equations


def _positive_solver(model: Model, matrix: Any) -> Callable[[Any], Any]:
    """Build sides → matrix⁻¹·sides by a unit diagonal; negative curvature is made positive."""
    xp = model.xp
    # Near bounds diagonal entries grow like 1/distance²; a unit diagonal undoes most of that.
    diagonal = xp.diagonal(matrix, axis1=-2, axis2=-1)
    diagonal = xp.maximum(xp.abs(diagonal), xp.finfo(matrix.dtype).tiny)
    scale = 1 / xp.sqrt(diagonal)[..., None]
    solve = model.inverse(matrix * scale * xp.swapaxes(scale, -1, -2))
    return lambda sides: scale * solve(scale * sides)


def with_ridge(xp: Any, matrix: Any) -> Any:
    """Add a few roundings to the unit diagonal of matrices (…, n, n)."""
    # Rounding can make a positive matrix slightly indefinite, on which Cholesky fails.
    count = matrix.shape[-1]
    return matrix + 8 * count * xp.finfo(matrix.dtype).eps * xp.eye(count, dtype=matrix.dtype)


def turned_positive(xp: Any, matrix: Any) -> Callable[[Any], Any]:
    """Build sides → |matrix|⁻¹·sides, where |matrix| has |λ| for each eigenvalue λ."""
    # |λ| instead of λ makes the step one of descent along directions of negative curvature, too;
    # the floor bounds it along flat ones (Nocedal and Wright, section 3.4).
    values, vectors = xp.linalg.eigh(matrix)
    size = xp.maximum(xp.abs(values), 1e-9)[..., None]
    turned = xp.swapaxes(vectors, -1, -2)
    return lambda sides: vectors @ ((turned @ sides) / size)


def _longest(model: Model, *pairs: tuple[Any, Any]) -> Any:
    """(…) longest step, at most 1, that keeps a share 1 − `TO_THE_BOUNDARY` of every distance.

    Each pair holds distances and their changes, (…, n) each.
    """
    xp = model.xp

    def of(distance: Any, change: Any) -> Any:
        ratio = xp.where(change < 0, -TO_THE_BOUNDARY * distance / change, xp.inf)
        return xp.min(ratio, axis=-1, initial=1.0)

    longest = of(*pairs[0])
    for pair in pairs[1:]:
        longest = xp.minimum(longest, of(*pair))
    return longest


def _merit(model: Model, barrier: Any, penalty: Any, at: tuple[Any, Any, Around]) -> Any:
    """(…) f − μ Σ log(distances and slacks) + penalty · Σ |h + s|, which a step must lower.

    `at` holds variables, slacks, and what is around them.
    """
    xp, (x, slack, around) = model.xp, at
    # Variables without a bound get log 1 = 0.
    bounded = [xp.where(xp.isfinite(d), d, 1.0) for d in distances(model, x)]
    inside = xp.concatenate([*bounded, slack], axis=-1)
    missed = xp.sum(xp.abs(around.rows + slack), axis=-1)
    return around.value - barrier * xp.sum(xp.log(inside), axis=-1) + penalty * missed


def _line_search(model: Model, state: Iterate, change: _Direction, longest: Any, dual: Any) -> Any:
    """Find the first of the steps longest, longest/2, … that lowers the merit enough.

    Convex problems skip this search, because full steps converge faster there.
    """
    xp, barrier = model.xp, state.barrier[..., None]
    prices = state.rows + dual[..., None] * change.rows
    # The merit is exact only if the penalty exceeds every multiplier of the rows.
    penalty = 1 + 1.5 * xp.max(xp.abs(prices), axis=-1, initial=0.0)
    now = _merit(model, state.barrier, penalty, (state.x, state.slack, state.around))
    to_lower, to_upper = distances(model, state.x)
    gradient = state.around.gradient - barrier / to_lower + barrier / to_upper
    # Along the step the linearised h + s falls to 0 in proportion, hence the last term.
    slope = (
        xp.sum(gradient * change.x, axis=-1)
        - state.barrier * xp.sum(change.slack / state.slack, axis=-1)
        - penalty * xp.sum(xp.abs(state.around.rows + state.slack), axis=-1)
    )
    # Near the end true decreases are below rounding, which must not refuse a good step.
    rounding = 100 * xp.finfo(now.dtype).eps * (1 + xp.abs(now))

    def enough(halvings: Any) -> Any:
        length = longest * 0.5**halvings
        x = state.x + length[..., None] * change.x
        slack = state.slack + length[..., None] * change.slack
        there = _merit(
            model, state.barrier, penalty, (x, slack, model.around(x, xp.zeros_like(state.rows)))
        )
        # Armijo's condition with its usual constant of 1e-4.
        return there <= now + 1e-4 * length * xp.minimum(slope, 0.0) + rounding

    return longest * 0.5 ** model.first(enough, HALVINGS)


def _error(model: Model, state: Iterate, equations: Any) -> tuple[Any, Any]:
    """(…) the largest residual of the conditions of the barrier problem; (…) of its rows alone."""
    xp, box, around = model.xp, model.box, state.around
    barrier = state.barrier[..., None]
    slope = around.gradient + _times(state.rows, around.jacobian) - state.at_lower + state.at_upper
    slope = xp.where(box.free, slope + equations @ box.equal, 0.0)
    to_lower, to_upper = distances(model, state.x)
    multipliers = xp.concatenate([state.rows, state.at_lower, state.at_upper], axis=-1)
    # Large multipliers make the residual of the slopes large by rounding alone.
    size = xp.maximum(1.0, xp.mean(multipliers, axis=-1))
    products = xp.concatenate(
        [
            state.rows * state.slack,
            xp.where(xp.isfinite(to_lower), state.at_lower * to_lower, barrier),
            xp.where(xp.isfinite(to_upper), state.at_upper * to_upper, barrier),
        ],
        axis=-1,
    )
    missed = xp.max(xp.abs(around.rows + state.slack), axis=-1, initial=0.0)
    off = xp.maximum(xp.max(xp.abs(slope), axis=-1), xp.max(xp.abs(products - barrier), axis=-1))
    return xp.maximum(off / size, missed), missed


def _next_barrier(
    model: Model, least: float, state: Iterate, error: Any, missed: Any, still: Any
) -> Iterate:
    """Lower the barrier once its problem is solved to ten times the barrier, or to rounding."""
    xp = model.xp
    solved = (error <= 10 * state.barrier) | (still & (missed <= least))
    # Linear at first, superlinear near the end, as in Wächter and Biegler, equation 7.
    lower = xp.maximum(least, xp.minimum(0.2 * state.barrier, state.barrier**1.5))
    done = solved & (state.barrier <= least)
    return state._replace(
        barrier=xp.where(solved, lower, state.barrier),
        # An error of 0 ends the search, so that one before the last barrier must not be 0.
        error=xp.where(done, 0.0, xp.maximum(error, 100 * least)),
    )
