"""Mean cross-entropy of tied embeddings, whose gradient is found on the way forward.

Logits of a whole batch (2048 tokens × 4096 words) are 33 MB, and written and read several times by
plain differentiation; in parts of 256 tokens they stay in the cache of a CPU. Products are of the
type of the stream, sums of float32 at least.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array

TOKENS_AT_ONCE = {"cpu": 256}
MANY_TOKENS = 8192
"""at once on other devices, which need work for thousands of lanes"""


@jax.custom_vjp
def mean_cross_entropy(stream: Array, embedding: Array, targets: Array) -> Array:
    """Mean nats of targets under softmax(embedding · stream).

    Args:
        stream: (n, width) what each is predicted from, of the type that products are computed in.
        embedding: (vocabulary, width), of the type that its gradient is summed in.
        targets: (n,) ids.
    """
    return _with_gradient(stream, embedding, targets)[0]


def _with_gradient(
    stream: Array, embedding: Array, targets: Array
) -> tuple[Array, tuple[Array, Array]]:
    """The mean, and its gradient in stream and embedding: of a logit, its probability, less 1 of
    the target's."""
    n, width = stream.shape
    at_once = math.gcd(n, TOKENS_AT_ONCE.get(jax.default_backend(), MANY_TOKENS))
    words = embedding.astype(stream.dtype)
    product = functools.partial(jnp.matmul, preferred_element_type=embedding.dtype)

    def part(to_embedding: Array, tokens: tuple[Array, Array]) -> tuple[Array, tuple]:
        stream, targets = tokens
        logits = product(words, stream.T)
        normalizer = jax.nn.logsumexp(logits, axis=0)
        shares = (jnp.exp(logits - normalizer) / n).astype(stream.dtype)
        right = words[targets].astype(embedding.dtype)
        loss = normalizer - jnp.sum(stream * right, axis=-1)
        to_stream = product(shares.T, words) - right / n
        return to_embedding + product(shares, stream), (loss, to_stream.astype(stream.dtype))

    parts = stream.reshape(-1, at_once, width), targets.reshape(-1, at_once)
    to_embedding, (losses, to_stream) = jax.lax.scan(part, jnp.zeros_like(embedding), parts)
    to_embedding = to_embedding.at[targets].add(-stream.astype(embedding.dtype) / n)
    return losses.mean(), (to_stream.reshape(n, width), to_embedding)


def _backward(gradient: tuple[Array, Array], scale: Array) -> tuple[Array, Array, None]:
    to_stream, to_embedding = gradient
    return scale.astype(to_stream.dtype) * to_stream, scale * to_embedding, None


mean_cross_entropy.defvjp(_with_gradient, _backward)
