"""A decoder-only transformer in plain JAX: pre-norm, learned positions, tied embeddings.

Parameters are a dictionary of arrays, those of a block under its number. Functions are of one model
and can be mapped over several.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from benchmarks.proxy_sweep.cross_entropy import mean_cross_entropy

Parameters = dict[str, Array]
PRODUCTS = ("float32", "bfloat16")
SPREAD = 0.02
"""standard deviation of weights at the start, as in GPT-2"""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Shape of a model.

    Raises:
        ValueError: if anything is below 1, or the width is no multiple of the heads.
    """

    vocabulary: int = 4096
    width: int = 128
    layers: int = 4
    heads: int = 4
    sequence: int = 128
    """tokens that a model sees at once"""
    products: str | None = None
    """type that products are computed in, such as bfloat16; None for the parameters' float32"""

    def __post_init__(self) -> None:
        numbers = {n: v for n, v in dataclasses.asdict(self).items() if isinstance(v, int)}
        small = {name: n for name, n in numbers.items() if n < 1}
        if small:
            raise ValueError(f"The model's {small}; expected 1 or more of each.")
        if self.width % self.heads:
            raise ValueError(
                f"width is {self.width}, heads {self.heads}; expected a multiple of the heads."
            )
        if self.products not in (None, *PRODUCTS):
            raise ValueError(
                f"products is {self.products!r}; expected one of {', '.join(PRODUCTS)}."
            )


def initial_parameters(config: ModelConfig, seed: int) -> Parameters:
    """Normal weights of spread .02, smaller where a block adds to the stream; gains are 1."""
    width = config.width
    shapes = {"embedding": (config.vocabulary, width), "position": (config.sequence, width)}
    gains = ["gain_last"]
    for layer in range(config.layers):
        shapes |= {f"{layer}.{name}": shape for name, shape in _block(width).items()}
        gains += [f"{layer}.gain_mix", f"{layer}.gain_feed"]
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    weights = {
        name: SPREAD * _shrink(name, config.layers) * jax.random.normal(key, shape)
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    return weights | {name: jnp.ones(width) for name in gains}


def _block(width: int) -> dict[str, tuple[int, int]]:
    mixing = dict.fromkeys(("query", "key", "value", "mixed"), (width, width))
    return mixing | {"inner": (width, 4 * width), "outer": (4 * width, width)}


def _shrink(name: str, layers: int) -> float:
    return 1 / math.sqrt(2 * layers) if name.endswith((".mixed", ".outer")) else 1.0


def mean_loss(parameters: Parameters, tokens: Array, config: ModelConfig) -> Array:
    """Mean nats of a token given those before it.

    Args:
        parameters: see `initial_parameters`.
        tokens: (batch, sequence + 1) ids; each but the first is predicted.
        config: the model's shape.
    """
    stream = last_stream(parameters, tokens[:, :-1], config)
    return mean_cross_entropy(stream, parameters["embedding"], tokens[:, 1:].reshape(-1))


def last_stream(parameters: Parameters, tokens: Array, config: ModelConfig) -> Array:
    """(batch · sequence, width) what the next tokens are predicted from.

    Flat, since on a CPU products of two axes cost a third less than of three. What blocks add up
    to, norms and shares of attention are of the parameters' type, products of `config.products`.
    """
    kind = config.products or parameters["embedding"].dtype
    embedded = parameters["embedding"][tokens] + parameters["position"][: tokens.shape[1]]
    stream = embedded.reshape(-1, config.width)
    for layer in range(config.layers):
        weights = _of_layer(parameters, layer)
        normed = _normed(stream, weights["gain_mix"], kind)
        stream = stream + _attended(normed, weights, tokens.shape, config.heads)
        inner = _product(_normed(stream, weights["gain_feed"], kind), weights["inner"])
        stream = stream + _product(jax.nn.gelu(inner), weights["outer"])
    return _normed(stream, parameters["gain_last"], kind)


def _of_layer(parameters: Parameters, layer: int) -> Parameters:
    prefix = f"{layer}."
    names = [name for name in parameters if name.startswith(prefix)]
    return {name.removeprefix(prefix): parameters[name] for name in names}


def _normed(stream: Array, gain: Array, kind: DTypeLike) -> Array:
    """RMSNorm, as a type."""
    scale = jax.lax.rsqrt(jnp.mean(stream * stream, axis=-1, keepdims=True) + 1e-6)
    return (stream * scale * gain).astype(kind)


def _attended(stream: Array, weights: Parameters, shape: tuple[int, ...], heads: int) -> Array:
    """(batch · sequence, width) causal attention of several heads."""
    batch, length = shape
    query, key, value = (
        _product(stream, weights[name]).reshape(batch, length, heads, -1).transpose(0, 2, 1, 3)
        for name in ("query", "key", "value")
    )
    kind = jnp.promote_types(query.dtype, jnp.float32)
    scores = jnp.matmul(query, key.swapaxes(-1, -2), preferred_element_type=kind)
    seen = jnp.tril(jnp.ones((length, length), bool))
    scores = jnp.where(seen, scores / math.sqrt(query.shape[-1]), -jnp.inf)
    shares = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    mixed = (shares @ value).transpose(0, 2, 1, 3).reshape(stream.shape)
    return _product(mixed, weights["mixed"])


def _product(stream: Array, weights: Array) -> Array:
    """Multiply in the floating type of the stream."""
    return stream @ weights.astype(stream.dtype)


def flops_per_token(config: ModelConfig) -> float:
    """Floating point operations of a training step per token: three times those forward.

    Two a weight of every matrix, the output's included, and the products of attention, of which
    half is masked yet computed. Normalisation, softmax and optimiser are not counted.
    """
    weights = config.layers * 12 * config.width**2 + config.vocabulary * config.width
    attention = config.layers * 2 * config.sequence * config.width
    return 3.0 * 2 * (weights + attention)


def parameter_count(parameters: Parameters) -> int:
    """Numbers in a model."""
    return sum(array.size for array in parameters.values())
