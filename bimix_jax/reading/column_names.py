"""Names of columns: the parts that they share, and words that show a score."""

import itertools
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping

from bimix_jax.reading.names import spelling
from bimix_jax.reading.tables import LOSS_PREFIX, listed

SEPARATORS = "_/.-"
SCORES = re.compile(
    "acc|accs|accuracy|accuracies|score|scores|f1|em|exactmatch|pass|passrate|win|wins|winrate|"
    "bleu|sacrebleu|rouge|bertscore|chrf|meteor|auc|auroc|auprc|mcc|ndcg|mrr"
)
"""Words of a name that show that more is better."""
SCORE_PAIRS = frozenset({("exact", "match"), ("success", "rate"), ("solve", "rate")})
"""Pairs of consecutive words that show that more is better."""
LOSSES = re.compile("loss|losses|nll|ce|xent|crossentropy|bpb|bpc|ppl|perplexity|err|errors?")
"""Words that show that less is better, whatever the other words are: `acc_loss`."""
PERPLEXITIES = re.compile(
    r"(?<![^\W_])(?<!log[\W_])(ppl|perplexity|perplexities)(?![^\W_])", re.IGNORECASE
)
"""Words of a name that show perplexities, whose logarithms are losses."""
SO_NAMED = "Columns named as perplexities"
"""Beginning of the doubt about such columns."""
SETTINGS = re.compile(
    r"((max|min|peak|base|final|init|initial|args|params|config|hparams|hyperparameters|optim|"
    r"optimizer|train|training)_)*lr(_(max|min|peak|base|final|init))?|"
    r"(.*_)?(learning_?rate|weight_?decay|dropout|label_smoothing|flops|batch_?size|"
    r"beta_?[12]|adam_eps(ilon)?)|momentum|batch_?size_per_device|"
    r"(.*_)?warm_?up_(steps|ratio|tokens|iters)|((n|num|num_train|train)_)?epochs?|"
    r"((max|total)_)?grad(ient)?_?(norm|clip(ping)?)(_(norm|val|value))?|clip_grad(_norm)?|"
    r"gradient_accumulation_steps|((max_)?(sequence|seq|context)_?)(length|len)|gpu_hours"
)
"""Names of settings and counters of training, with `_` between words."""
KINDS = frozenset({"train", "training", "eval", "val", "valid", "validation", "test"}) | frozenset(
    {"metric", "metrics", "loss", "losses"}
)
"""Words that name a kind of number, not what it is measured on."""
# F1 is the only word with a digit, unless it begins a longer number, as in f16.
WORD = re.compile(r"(?<![^\W\d_])[fF]1(?!\d)|[^\W\d_]+")
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def is_setting(name: str) -> bool:
    """True for the name of a setting or counter of training.

    >>> [is_setting(name) for name in ("LR", "Weight decay", "optim/beta1", "law", "clip")]
    [True, True, True, False, False]
    """
    words = re.sub(r"[\s/.\-]+", "_", name.strip())
    return SETTINGS.fullmatch(words.casefold()) is not None


def about_perplexities(
    targets: Mapping[str, str], domains: Collection[str], unit: str | None
) -> list[str]:
    """Doubt columns of losses that are named as perplexities, unless their unit is stated.

    Args:
        targets: column → target. That of a domain whose name has such a word, as of text that was
            sorted by perplexities, is no doubt.
        domains: their names.
        unit: of the losses, as stated.

    >>> about_perplexities({"ppl_web": "web", "loss_code": "code"}, [], None)[0].split(":")[0]
    'Columns named as perplexities are read as losses in nats per token (ppl_web)'
    >>> about_perplexities({"ppl_web": "web"}, [], "perplexity")
    []
    """
    named = [
        column
        for column, target in targets.items()
        if PERPLEXITIES.search(column) and not (target in domains and PERPLEXITIES.search(target))
    ]
    if unit is not None or not named:
        return []
    return [
        f"{SO_NAMED} are read as losses in nats per token ({listed(named)}): "
        "if all losses are perplexities, state --metadata loss_unit=perplexity; if none is, "
        "loss_unit=nats; if some are, take their logarithm."
    ]


def match_names(
    domains: Mapping[str, str], targets: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return names without the prefixes and suffixes that all names of a kind share.

    Names are cut at separators only. The cut with the most names in common is taken: no cut if the
    names match as well without one, else the longest. Scores beside losses may have other parts in
    common, so where no cut gives names in common, losses are matched without them. Where that gives
    none either, only words that name a kind of number are cut, like `train_` and `_val_loss`.
    """
    losses = {c: name for c, name in targets.items() if not says_score(name)} or dict(targets)
    for some in (dict(targets), losses):
        best, shared = _best_cuts(domains, some)
        if shared:
            break
    else:
        best = _cut_of_kinds(domains), _cut_of_kinds(losses)
    scores = {c: name for c, name in targets.items() if c not in some}
    named = _cut(some, best[1]) | _cut(scores, _cut_of_kinds(scores))
    return _cut(domains, best[0]), {column: named[column] for column in targets}


def _best_cuts(
    domains: Mapping[str, str], targets: Mapping[str, str]
) -> tuple[tuple[tuple[int, int], tuple[int, int]], int]:
    """Return the cuts of domains and targets with the most names in common, and their number."""

    def merit(cuts: tuple[tuple[int, int], tuple[int, int]]) -> tuple[int, bool, int]:
        cut = _cut(domains, cuts[0]).values(), _cut(targets, cuts[1]).values()
        shared = set(map(spelling, cut[0])) & set(map(spelling, cut[1]))
        length = sum(cuts[0] + cuts[1])
        # The longest cut, because a part that all names share says nothing.
        return len(shared), length == 0, length

    kept = [cut for cut in _cuts(targets) if not _takes_score(targets, cut)]
    best = max(itertools.product(_cuts(domains), kept), key=merit)
    return best, merit(best)[0]


def _cut_of_kinds(columns: Mapping[str, str]) -> tuple[int, int]:
    """Return the longest cut of words that name a kind of number."""

    def words(text: str) -> list[str]:
        return [word.lower() for word in re.split(f"[{SEPARATORS}]", text) if word]

    def fits(cut: tuple[int, int]) -> bool:
        left = _cut(columns, cut)
        name = next(iter(columns.values()))
        taken = words(name[: cut[0]]) + words(name[len(name) - cut[1] :])
        # A loss of an accuracy must not become a score, nor a name nothing but a kind.
        return KINDS.issuperset(taken) and all(
            says_score(left[c]) == says_score(columns[c]) and not KINDS.issuperset(words(left[c]))
            for c in columns
        )

    return max(filter(fits, _cuts(columns)), key=sum, default=(0, 0)) if columns else (0, 0)


def _takes_score(columns: Mapping[str, str], cut: tuple[int, int]) -> bool:
    """True where the cut would remove the part of the name that shows that more is better."""
    name = next(iter(columns.values()))
    return says_score(name[: cut[0]]) or says_score(name[len(name) - cut[1] :])


def shortened(names: Iterable[str]) -> Iterator[list[str]]:
    """Yield the names as they are, then without the prefixes and suffixes that all share.

    >>> list(shortened(["eval_web", "eval_code"]))
    [['eval_web', 'eval_code'], ['web', 'code']]
    """
    columns = {name: name for name in names}
    yield from (list(_cut(columns, cut).values()) for cut in _cuts(columns))


def _cuts(columns: Mapping[str, str]) -> list[tuple[int, int]]:
    """Return the (front, back) numbers of characters that can be cut and leave a part of every
    name."""
    names = list(columns.values())
    mirrored = [name[::-1] for name in names]
    front, back = (
        [0, *(i + 1 for i, c in enumerate(shared_beginning(n)) if c in SEPARATORS)]
        for n in (names, mirrored)
    )
    # Front and back together must leave a letter of the shortest name.
    longest = min(map(len, names)) - 1
    return [cut for cut in itertools.product(front, back) if sum(cut) <= longest]


def shared_beginning(names: list[str]) -> str:
    """Return the letters with which all names begin."""
    columns = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in columns)


def _cut(columns: Mapping[str, str], cut: tuple[int, int]) -> dict[str, str]:
    return {column: name[cut[0] : len(name) - cut[1]] for column, name in columns.items()}


# ---- scores --------------------------------------------------------------------------------------


def says_score(name: str) -> bool:
    """True where a word of a name shows that more is better, and no word that it is a loss.

    >>> [says_score(name) for name in ("mmlu_acc", "pass@1", "F1", "compass", "accès", "acc_loss")]
    [True, True, True, False, False, False]
    """
    # Composed letters, because a combining accent would cut a word in two.
    parts = WORD.findall(unicodedata.normalize("NFC", name))
    words = [word.casefold() for part in parts for word in CAMEL.split(part)]
    more = any(map(SCORES.fullmatch, words)) or bool(SCORE_PAIRS & {*itertools.pairwise(words)})
    return more and not any(map(LOSSES.fullmatch, words))


def keep_scores_named(targets: Mapping[str, str], said: str) -> dict[str, str]:
    """Map columns to targets; keep the whole name where the prefix `said` shows that more is
    better.

    Without a prefix like `acc_`, nothing would show that more is better.

    >>> keep_scores_named({"acc_web": "web"}, "acc_"), keep_scores_named({"ce_web": "web"}, "ce_")
    ({'acc_web': 'acc_web'}, {'ce_web': 'web'})
    """
    if not says_score(said.removeprefix(LOSS_PREFIX)):
        return dict(targets)
    return {column: column.removeprefix(LOSS_PREFIX) for column in targets}
