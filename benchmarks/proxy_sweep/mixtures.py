"""The mixtures of the sweep: scattered over the simplex, with the uniform and the entropy ones.

Points of a scrambled Sobol sequence become proportions by exponential spacings (r_i ∝ −ln u_i,
which makes them uniform over the simplex), and every proportion is raised to at least 1 %, as
laws with r^−α know no zero. Of a pool of them the one farthest from all that are taken is taken
next (greedy maximin, by the square roots of the proportions, so that 1 % against 4 % counts as
much as 36 % against 49 %). The pool is small, since from a large one only corners would be taken.
"""

import json
from pathlib import Path

import numpy as np
from scipy.stats import qmc

FLOOR = 0.01
POOL = 64
ENTROPIES = ("SE", "CE", "JE", "VNE")


def sweep_mixtures(
    domains: tuple[str, ...], count: int, entropies: dict[str, np.ndarray], seed: int = 0
) -> dict[str, np.ndarray]:
    """Name → (domains,) proportions: uniform, then entropy and scattered mixtures by turns.

    Any beginning of the list spans the simplex as far as so many can.

    Args:
        domains: what is mixed.
        count: mixtures in all.
        entropies: mixtures to include.
        seed: of the Sobol sequence's scrambling.

    Raises:
        ValueError: if `count` leaves no room, or asks for more than the pool has.
    """
    others = count - 1 - len(entropies)
    if not 0 <= others <= POOL:
        raise ValueError(
            f"{count} mixtures; expected {1 + len(entropies)} to {1 + len(entropies) + POOL}: the "
            f"uniform one, {len(entropies)} of entropies and at most {POOL} scattered ones."
        )
    uniform = np.full(len(domains), 1 / len(domains))
    taken = [uniform, *entropies.values()]
    scattered = {
        f"scattered-{i:02d}": mixture
        for i, mixture in enumerate(farthest_first(pool(len(domains), seed), taken, others), 1)
    }
    return {"uniform": uniform} | _by_turns(entropies, scattered)


def pool(domains: int, seed: int) -> np.ndarray:
    """(POOL, domains) proportions, uniform over the simplex but for the floor."""
    points = qmc.Sobol(domains, seed=seed).random(POOL)
    spacings = -np.log(np.clip(points, 1e-12, 1 - 1e-12))
    shares = spacings / spacings.sum(axis=1, keepdims=True)
    return FLOOR + (1 - domains * FLOOR) * shares


def farthest_first(candidates: np.ndarray, taken: list[np.ndarray], count: int) -> list[np.ndarray]:
    """`count` candidates, each the farthest from those taken before it."""
    roots = np.sqrt(candidates)
    nearest = np.min([np.linalg.norm(roots - np.sqrt(t), axis=1) for t in taken], axis=0)
    found = []
    for _ in range(count):
        best = int(np.argmax(nearest))
        found.append(candidates[best])
        nearest = np.minimum(nearest, np.linalg.norm(roots - roots[best], axis=1))
    return found


def _by_turns(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One of each as long as both last."""
    pairs = zip(first.items(), second.items(), strict=False)
    return dict(item for pair in pairs for item in pair) | first | second


def entropy_mixtures(path: Path, domains: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Name → (domains,) proportions that `benchmarks.proxy_sweep.entropies` wrote, if any.

    Raises:
        ValueError: if they are of other domains.
    """
    if not path.exists():
        return {}
    found = json.loads(path.read_text())["settings"]["mixtures"]
    for name in ENTROPIES:
        if set(found[name]) != set(domains):
            raise ValueError(
                f"{path}: the {name} mixture is of {', '.join(sorted(found[name]))}, the corpus "
                f"holds {', '.join(domains)}. Compute the entropies of this corpus, or leave them "
                "out (--entropies none)."
            )
    return {name: np.array([found[name][domain] for domain in domains]) for name in ENTROPIES}
