"""One step of training for several models at a time, and their losses on held-out text."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax import Array

from benchmarks.proxy_sweep.model import ModelConfig, Parameters, initial_parameters, mean_loss

SCHEDULES = ("constant", "decay")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Settings of a run's training: AdamW, warm-up, then a constant rate unless it decays.

    Raises:
        ValueError: if a number is out of range, or the schedule unknown.
    """

    steps: int = 1440
    batch: int = 16
    """sequences a step; after .33 M tokens 16 reached a mean loss of 6.00 nats, 32 of 6.40"""
    learning_rate: float = 2e-3
    """after .33 M tokens in batches of 32 it reached 6.40 nats, 1e-3 6.48, 4e-3 6.65"""
    warm_up: int = 64
    """steps over which the rate grows linearly from 0"""
    schedule: str = "constant"
    """"constant" after the warm-up, or "decay": linear to 0 at the last step"""
    weight_decay: float = 0.1
    clip: float = 1.0
    """largest norm of a gradient"""
    checkpoints: int = 12
    """up to the last step, or to `exactly_at`, from where they go on as densely"""
    exactly_at: int | None = None
    """a step before the last that gets a checkpoint: where shorter runs to compare with end"""

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f"schedule is {self.schedule!r}; expected one of {', '.join(SCHEDULES)}."
            )
        for name in ("batch", "warm_up", "checkpoints", "learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected more than 0.")
        if self.exactly_at is not None and not 2 * self.warm_up < self.exactly_at < self.steps:
            raise ValueError(
                f"exactly_at is {self.exactly_at}; expected a step after {2 * self.warm_up}, twice "
                f"the warm-up, and before {self.steps}, the last."
            )
        steps = checkpoint_steps(self)
        if any(late <= early for early, late in itertools.pairwise(steps)):
            raise ValueError(
                f"{self.checkpoints} checkpoints from step {2 * self.warm_up}, twice the warm-up, "
                f"to {self.steps} would fall together or run backwards: {steps}. Train longer, "
                "warm up for less, or ask for fewer."
            )


def checkpoint_steps(config: TrainingConfig) -> list[int]:
    """Steps at which losses are measured, evenly in log budget from twice the warm-up to the end.

    A law's budget exponent is a slope in log budget: points that are even there bear on it alike,
    where linear spacing would leave one or two for the first half of the fall. Within the warm-up,
    and shortly after, losses are those of a rate that no longer run has.
    """
    first, middle = 2 * config.warm_up, config.exactly_at or config.steps
    steps = np.geomspace(first, middle, config.checkpoints)
    if config.exactly_at is not None:
        spacing = math.log(middle / first) / max(config.checkpoints - 1, 1)
        further = max(round(math.log(config.steps / middle) / spacing), 1)
        steps = np.append(steps, np.geomspace(middle, config.steps, further + 1)[1:])
    return [int(step) for step in steps.round()]


class TrainingState(NamedTuple):
    """State for the next step of several models: every array has a leading axis of models."""

    parameters: Parameters
    optimizer: Any


def learning_rate(config: TrainingConfig) -> optax.Schedule:
    """Step, the first being 0, → rate."""
    first = config.learning_rate / config.warm_up
    rise = optax.linear_schedule(first, config.learning_rate, config.warm_up - 1)
    if config.schedule == "constant":
        return rise
    fall = optax.linear_schedule(config.learning_rate, 0.0, config.steps - config.warm_up)
    return optax.join_schedules([rise, fall], [config.warm_up])


def learning_rates(config: TrainingConfig) -> np.ndarray:
    """(steps,) the rate of each."""
    return np.asarray(jax.vmap(learning_rate(config))(np.arange(config.steps)), np.float32)


def optimizer(config: TrainingConfig) -> optax.GradientTransformation:
    """AdamW with clipped gradients, at a rate of 1; only matrices decay."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.adamw(1.0, b2=0.95, weight_decay=config.weight_decay, mask=_is_matrix),
    )


def _is_matrix(parameters: Parameters) -> dict[str, bool]:
    return {name: "gain" not in name for name in parameters}


def initial_state(seeds: list[int], model: ModelConfig, config: TrainingConfig) -> TrainingState:
    """Untrained models, one a seed."""
    each = [initial_parameters(model, seed) for seed in seeds]
    parameters = jax.tree.map(lambda *arrays: jax.numpy.stack(arrays), *each)
    return TrainingState(parameters, jax.vmap(optimizer(config).init)(parameters))


def train_step(
    state: TrainingState, tokens: np.ndarray, rate: float, model: ModelConfig,
    config: TrainingConfig,
) -> TrainingState:  # fmt: skip
    """The state after one more step.

    Args:
        state: of m models; it is used up.
        tokens: (m, batch, sequence + 1) ids.
        rate: of learning.
        model: the models' shape.
        config: how they are trained.
    """
    # Its length is nothing to a step: one compilation for runs of any.
    any_length = TrainingConfig(clip=config.clip, weight_decay=config.weight_decay)
    return _step_of_all(state, tokens, rate, model, any_length)


@functools.partial(jax.jit, static_argnames=("model", "config"), donate_argnames="state")
def _step_of_all(
    state: TrainingState, tokens: Array, rate: Array, model: ModelConfig, config: TrainingConfig
) -> TrainingState:
    one = functools.partial(_step_of_one, rate=rate, model=model, config=config)
    step = _over_models(one, len(tokens))
    return TrainingState(*step(state.parameters, state.optimizer, tokens))


def _over_models(function: Callable[..., Any], models: int) -> Callable[..., Any]:
    """`vmap`, but for one model its axis taken off and put back: a sixth faster on a CPU."""
    if models > 1:
        return jax.vmap(function)

    def of_one(*arguments: Any) -> Any:
        found = function(*jax.tree.map(lambda array: array[0], arguments))
        return jax.tree.map(lambda array: array[None], found)

    return of_one


def _step_of_one(
    parameters: Parameters, state: Any, tokens: Array, rate: Array, model: ModelConfig,
    config: TrainingConfig,
) -> tuple[Parameters, Any]:  # fmt: skip
    gradient = jax.grad(lambda p: mean_loss(p, tokens, model))(parameters)
    updates, state = optimizer(config).update(gradient, state, parameters)
    updates = jax.tree.map(lambda update: rate * update, updates)
    return optax.apply_updates(parameters, updates), state  # type: ignore[return-value]


@functools.partial(jax.jit, static_argnames="model")
def mean_losses(parameters: Parameters, tokens: Array, model: ModelConfig) -> Array:
    """(models,) mean nats per token of (sequences, sequence + 1) ids."""
    models = len(parameters["embedding"])
    return _over_models(lambda p: mean_loss(p, tokens, model), models)(parameters)
