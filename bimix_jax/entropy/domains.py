"""Entropies per domain, and the mixtures that follow from them."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from bimix_jax.entropy._counts import Counts, Given, Plan, count_profiles
from bimix_jax.entropy._profiles import ESTIMATORS, coverage, profile_of
from bimix_jax.entropy._streams import Stream, Tokens, sampled, streams_of
from bimix_jax.printable import Drawn
from bimix_jax.reading.settings import settings_of

if TYPE_CHECKING:
    import pandas as pd

    from bimix_jax.entropy.token_counts import TokenCounts

PROXIES = ("SE", "CE", "JE")
CURVE_START = 4096
"""Tokens of the smallest sample of a curve."""
CURVE_STEP = 4
"""Ratio of the sizes of neighbouring samples."""
LOW_COVERAGE = 0.9
"""Share of the pairs of the source, below which a note warns that few of them were seen."""
UNSETTLED = 0.05
"""Change of CE in nats over the last factor of four in tokens, above which it has not settled."""
Progress = Callable[[str, float], object]


@dataclasses.dataclass(frozen=True)
class Entropies(Drawn):
    """Entropies of one or several domains, in nats, by every estimator."""

    estimates: "pd.DataFrame"
    """(domains, estimator × proxy) with columns such as ("plug-in", "CE")"""
    sizes: "pd.DataFrame"
    """(domains, …): tokens, pairs, types, pair_types, coverage (of pairs, a share of 1)"""
    curve: "pd.DataFrame"
    """plug-in entropies of samples: columns domain, tokens, SE, CE, JE; empty if not requested"""
    equal: "pd.DataFrame"
    """(domains, proxy) plug-in at the tokens of the smallest domain; empty if not requested"""
    notes: tuple[str, ...]
    """sentences on bias, and on parts that were left out"""
    von_neumann: "pd.Series | None" = None
    """VNE by domain, if there were embeddings"""
    standard_errors: "pd.DataFrame | None" = None
    """(domains, estimator × proxy) of estimates from a sample of the pairs; None where all were
    counted"""
    failed: tuple[str, ...] = ()
    """sentences on files that a cluster could not read; all others were counted"""

    @classmethod
    def of(cls, domains: Mapping[str, "TokenCounts"]) -> "Entropies":
        """Estimate the entropies of domains from their counts, in nats.

        Raises:
            ValueError: if there is no domain, or one holds no pair.
        """
        if not domains:
            raise ValueError("domains: there is none; expected the counts of at least one.")
        rows, sizes, errors = {}, {}, {}
        for name, each in domains.items():
            counts, replicates = each.counts(), each.replicates()
            sizes[name], rows[name] = _sizes(counts, name), _estimates(counts)
            errors[name] = _standard_errors([_estimates(one) for one in replicates], rows[name])
        found = _collect(rows, sizes, None)
        sampled = {name: each for name, each in domains.items() if not each.exact}
        if not sampled:
            return found
        notes = (f"{name}: {each.about_sample(errors[name])}" for name, each in sampled.items())
        return dataclasses.replace(
            found, standard_errors=_by_proxy(errors), notes=(*found.notes, *notes)
        )

    def table(self, estimator: str = "plug-in") -> "pd.DataFrame":
        """Return SE, CE and JE by domain, VNE where known, with tokens, pairs and coverage.

        Args:
            estimator: "plug-in" (the paper's), "miller-madow" or "chao-shen".

        Raises:
            ValueError: if the estimator is unknown.
        """
        if estimator not in ESTIMATORS:
            raise ValueError(
                f"estimator is {estimator!r}; expected one of {', '.join(ESTIMATORS)}."
            )
        table = self.estimates[estimator]
        if self.von_neumann is not None:
            table = table.assign(VNE=self.von_neumann)
        return table.join(self.sizes)

    def mixtures(self, estimator: str = "plug-in", temperature: float = 1.0) -> "pd.DataFrame":
        """Return the mixture of every proxy, (domains, proxies); columns sum to 1.

        Args:
            estimator: as in `table`, or "equal" for equal token counts.
            temperature: see `entropy_mixture`.

        Raises:
            ValueError: if the estimator is unknown, or "equal" was not computed.
        """
        import pandas as pd

        if estimator == "equal" and self.equal.empty:
            raise ValueError("estimator is 'equal', which needs token_entropies(…, curve=True).")
        table = self.equal if estimator == "equal" else self.table(estimator)
        known = [*PROXIES, *(["VNE"] if "VNE" in table else [])]
        columns = {proxy: entropy_mixture(table[proxy], temperature) for proxy in known}
        return pd.DataFrame(columns).rename_axis("domain")


def token_entropies(
    tokens: Tokens | Mapping[str, Tokens],
    vocabulary: int,
    sequence_length: int = 1024,
    *,
    progress: Progress = lambda domain, share: None,
    **settings: Unpack[Given],
) -> Entropies:
    """Compute Shannon, joint and conditional entropy of token streams, in nats (BiMix, arXiv
    2405.14908).

    SE = −Σ P(x) ln P(x) over all tokens; JE = −Σ P(x, x') ln P(x, x') over adjacent pairs;
    CE = −Σ P(x, x') ln P(x' | x), which is JE less the entropy of the pairs' first tokens. Pairs
    cross no sequence and no document. Counts are exact whatever the chunk, memory or workers.

    Args:
        tokens: by domain, or of one domain: an array (tokens,) or (documents, tokens), a list of
            documents of any lengths, a stream, or several streams.
        vocabulary: number of token types; ids lie below it.
        sequence_length: tokens per training sequence.
        progress: called with a domain and the share of its work done since the last call.
        settings: further settings of the count.

            - end_of_document: token after which a document ends, if the tokens mark it so; default
              None.
            - curve: True to estimate also from samples of sequences, at sizes that rise fourfold
              and at the size of the smallest domain; default False.
            - seed: seed of those samples; default 0.
            - chunk: tokens that a thread reads at once; default 4,194,304.
            - memory: bytes for the counts of pairs; default 2e9.
            - workers: number of threads; default one per core.

    Raises:
        ValueError: if a domain is empty or holds no pair, a token id is not in the vocabulary, or a
            setting has a value that it cannot have.
        TypeError: on a setting that does not exist.

    >>> pairs = np.tile(np.array([0, 1], np.uint16), 500)
    >>> found = token_entropies({"coin": pairs}, vocabulary=2, sequence_length=100)
    >>> found.table()[["SE", "CE", "tokens"]].round(3).to_dict("list")
    {'SE': [0.693], 'CE': [0.0], 'tokens': [1000]}
    """
    asked = {"vocabulary": vocabulary, "sequence_length": sequence_length, **settings}
    plan = settings_of(Plan, token_entropies, asked)
    domains = {name: _streams(name, given) for name, given in _named(tokens).items()}
    rows, sizes = {}, {}
    end = plan.end_of_document
    ends = end is None
    for name, streams in domains.items():
        counts = count_profiles(streams, plan, functools.partial(progress, name))
        sizes[name] = _sizes(counts, name)
        rows[name] = _estimates(counts)
        ends = ends or end in np.flatnonzero(counts.tokens)
    found = _collect(rows, sizes, _curves(domains, sizes, plan) if plan.curve else None)
    if ends:
        return found
    note = f"The token {end}, after which documents end, is in no domain."
    return dataclasses.replace(found, notes=(*found.notes, note))


def _named(tokens: Any) -> dict[str, Any]:
    if not isinstance(tokens, Mapping):
        return {"tokens": tokens}
    if not tokens:
        raise ValueError("tokens: there is no domain; expected the tokens of at least one.")
    return {str(name): given for name, given in tokens.items()}


def _streams(name: str, given: Any) -> list[Stream]:
    """Return the streams of a domain, at least one of which holds a token."""
    streams = streams_of(given, name)
    if not sum(map(len, streams)):
        raise ValueError(f"{name} is empty; expected tokens. Leave the domain out.")
    return streams


def _estimates(counts: Counts) -> dict[tuple[str, str], float]:
    """Return every proxy by every estimator; the conditional one follows from the chain rule."""
    tokens, firsts = profile_of(counts.tokens), profile_of(counts.firsts)
    found = dict[tuple[str, str], float]()
    for label, estimate in ESTIMATORS.items():
        # Chain rule: H(x, x′) = H(x) + H(x′ | x), with x over the first tokens of pairs alone.
        joint = estimate(counts.pairs)
        # Bias corrections and rounding can make the difference negative.
        conditional = max(joint - estimate(firsts), 0.0)
        values = {"SE": estimate(tokens), "CE": conditional, "JE": joint}
        found |= {(label, proxy): values[proxy] for proxy in PROXIES}
    return found


def _sizes(counts: Counts, name: str) -> dict[str, float]:
    pairs = counts.pairs
    if not pairs.total:
        raise ValueError(
            f"{name}: {counts.tokens.sum()} tokens, but no two in one sequence and document; "
            "expected pairs of tokens."
        )
    return {
        "tokens": int(counts.tokens.sum()),
        "pairs": pairs.total,
        "types": int(np.count_nonzero(counts.tokens)),
        "pair_types": pairs.seen,
        "coverage": coverage(pairs),
    }


def _curves(
    domains: dict[str, list[Stream]], sizes: dict[str, dict[str, float]], plan: Plan
) -> list[dict[str, Any]]:
    """Return plug-in entropies of nested samples, one of which has the equal size in each
    domain."""
    equal = int(min(size["tokens"] for size in sizes.values()))
    rows = []
    for name, streams in domains.items():
        total = int(sizes[name]["tokens"])
        whole = sum(len(stream) // plan.sequence_length for stream in streams)
        for tokens in _curve_sizes(total, equal) if whole else []:
            counts = count_profiles(sampled(streams, tokens, plan.sequence_length, plan.seed), plan)
            if counts.pairs.total:
                rows.append(_point(name, counts, tokens == equal))
    return rows


def _curve_sizes(total: int, equal: int) -> list[int]:
    # As many steps as fit: CURVE_START · CURVE_STEP^k ≤ total.
    count = max(int(np.log(max(total / CURVE_START, 1)) / np.log(CURVE_STEP)) + 1, 1)
    steps = {CURVE_START * CURVE_STEP**k for k in range(count)} | {equal}
    return sorted(size for size in steps if size < total)


def _point(name: str, counts: Counts, equal: bool) -> dict[str, Any]:
    values = _estimates(counts)
    point = {"domain": name, "tokens": int(counts.tokens.sum()), "equal": equal}
    return point | {proxy: values["plug-in", proxy] for proxy in PROXIES}


def _collect(
    rows: dict[str, dict[tuple[str, str], float]],
    sizes: dict[str, dict[str, float]],
    points: list[dict[str, Any]] | None,
) -> Entropies:
    import pandas as pd

    estimates = _by_proxy(rows)
    measured = pd.DataFrame.from_dict(sizes, orient="index").rename_axis("domain")
    whole = ["tokens", "pairs", "types", "pair_types"]
    measured = measured.astype(dict.fromkeys(whole, int))
    curve = pd.DataFrame(points or [], columns=["domain", "tokens", *PROXIES, "equal"])
    equal = curve[curve["equal"].astype(bool)].set_index("domain")[list(PROXIES)]
    if points is not None:
        # The smallest domain needs no sample: its own estimate is the one at that size.
        missing = [name for name in estimates.index if name not in equal.index]
        equal = pd.concat([equal, estimates.loc[missing, "plug-in"]]).loc[estimates.index]
    notes = _notes(estimates, measured, curve)
    return Entropies(estimates, measured, curve.drop(columns="equal"), equal, notes)


def _by_proxy(rows: dict[str, dict[tuple[str, str], float]]) -> "pd.DataFrame":
    """Return a table (domains, estimator × proxy)."""
    import pandas as pd

    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("domain")
    table.columns = pd.MultiIndex.from_tuples(list(next(iter(rows.values()))))
    return table


def _standard_errors(
    replicates: list[dict[tuple[str, str], float]], estimates: dict[tuple[str, str], float]
) -> dict[tuple[str, str], float]:
    """Return the jackknife's standard errors, 0 without replicates.

    Of G replicates, each without one of G groups: s² = (G − 1)/G · Σ_g (H_g − H̄)².
    """
    if not replicates:
        return dict.fromkeys(estimates, 0.0)
    count = len(replicates)
    found = {key: np.array([each[key] for each in replicates]) for key in estimates}
    return {key: float(np.sqrt((count - 1) * np.var(each))) for key, each in found.items()}


def _notes(
    estimates: "pd.DataFrame", sizes: "pd.DataFrame", curve: "pd.DataFrame"
) -> tuple[str, ...]:
    bias = (estimates["chao-shen"]["CE"] - estimates["plug-in"]["CE"]).clip(lower=0)
    worst = str(bias.idxmax())
    notes = [
        "Plug-in entropies are too low, CE and JE most, and more so for small samples. Chao-Shen "
        f"puts CE of {worst} {bias[worst]:.2f} nats higher (the largest difference) and that of "
        f"{bias.idxmin()} {bias.min():.2f} nats (the smallest); where few pairs were "
        "seen, Chao-Shen is inaccurate, too."
    ]
    low = sizes.index[sizes["coverage"] < LOW_COVERAGE]
    if len(low):
        shares = ", ".join(f"{name} {sizes.loc[name, 'coverage']:.0%}" for name in low)
        notes.append(f"The pairs that were seen cover a small share of the source's: {shares}.")
    unsettled = [str(name) for name in estimates.index if _moves(name, estimates, sizes, curve)]
    if unsettled:
        notes.append(
            f"CE still changed by more than {UNSETTLED} nats over the last factor of about four in "
            f"tokens, so more text would change it: {', '.join(unsettled)}."
        )
    return tuple(notes)


def _moves(
    name: Any, estimates: "pd.DataFrame", sizes: "pd.DataFrame", curve: "pd.DataFrame"
) -> bool:
    """True where the conditional entropy of at most a third of the tokens differs clearly."""
    mine = curve[(curve["domain"] == name) & (curve["tokens"] <= sizes.loc[name, "tokens"] / 3)]
    if mine.empty:
        return False
    last = mine.sort_values("tokens").iloc[-1]
    return bool(abs(estimates.loc[name, ("plug-in", "CE")] - last["CE"]) > UNSETTLED)


def entropy_mixture(
    entropies: "Mapping[str, float] | pd.Series", temperature: float = 1.0
) -> "pd.Series":
    """Return the mixture r_i = e^(H_i / T) / Σ_j e^(H_j / T) of entropies H.

    From BiMix (Ge et al., arXiv 2405.14908), where T = 1; the size of a domain does not matter.

    Args:
        entropies: nats, one per domain, by name.
        temperature: above 1 draws the mixture towards uniform, below 1 towards the largest.

    Returns:
        Proportions by domain, which sum to 1.

    Raises:
        ValueError: if there is no entropy, one is negative or not finite, or the temperature is
            not positive and finite.

    >>> entropy_mixture({"web": np.log(6), "code": np.log(2)}).round(3).to_dict()
    {'web': 0.75, 'code': 0.25}
    """
    import pandas as pd

    named = pd.Series(entropies, dtype=float)
    wrong = named[~(np.isfinite(named) & (named >= 0))]
    if named.empty or len(wrong):
        found = ", ".join(f"{name}: {value}" for name, value in wrong.items()) or "none"
        raise ValueError(f"entropies: {found}; expected a finite number ≥ 0 for every domain.")
    if named.index.has_duplicates:
        twice = named.index[named.index.duplicated()].astype(str)
        raise ValueError(f"entropies: {', '.join(twice)} is there twice; expected a name once.")
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature is {temperature}; expected a number above 0.")
    # A common factor cancels; without the maximum, small temperatures would overflow.
    weights = np.exp((named - named.max()) / temperature)
    return (weights / weights.sum()).rename("proportion").rename_axis("domain")
