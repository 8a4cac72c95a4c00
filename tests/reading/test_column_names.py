"""Names of columns are cut to what tells them apart, and scores are known by their words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bimix_jax.reading.column_names import match_names, says_score


def test_what_all_domains_share_by_chance_is_not_stripped():
    domains = {c: c for c in ("train_pubmed_abstracts", "train_pubmed_central")}
    targets = {c: c for c in ("loss.pubmed_central", "loss.github")}
    stripped = match_names(domains, targets)
    assert list(stripped[0].values()) == ["pubmed_abstracts", "pubmed_central"]
    assert list(stripped[1].values()) == ["pubmed_central", "github"]


def test_something_is_left_of_every_name():
    columns = {c: c for c in ("a_b", "a_")}
    stripped = match_names(columns, {"b": "b", "c": "c"})
    assert list(stripped[0].values()) == ["a_b", "a_"]


def test_names_that_match_as_they_are_stay():
    names = {c: c for c in ("en_web", "en_code")}
    assert match_names(names, names) == (names, names)


@pytest.mark.parametrize(
    ("targets", "found"),
    [
        (["metric/pile_cc_val_loss", "metric/books_val_loss"], ["pile_cc", "books"]),
        (["eval/web_acc_loss", "eval/code_acc_loss"], ["web_acc_loss", "code_acc_loss"]),
        (["eval/web_acc", "val_loss_pile", "val_loss_books"], ["web_acc", "pile", "books"]),
        (["val/loss", "val/test"], ["val/loss", "val/test"]),
        (["mmlu_law", "mmlu_logic"], ["mmlu_law", "mmlu_logic"]),
    ],
)
def test_without_common_names_only_the_kind_of_number_is_cut(targets, found):
    domains = {c: c for c in ("train_slim_wiki", "train_slim_arxiv")}
    stripped = match_names(domains, {c: c for c in targets})
    assert list(stripped[0].values()) == ["slim_wiki", "slim_arxiv"]
    assert list(stripped[1].values()) == found


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=4, unique=True),
    st.sampled_from(["", "p_", "m/the_", "x-y."]),
    st.sampled_from(["", "_q", "_val_loss"]),
)
def test_any_beginning_and_end_at_separators_is_stripped(names, front, back):
    domains = {f"train_{n}": f"train_{n}" for n in names}
    targets = {f"{front}{n}{back}": f"{front}{n}{back}" for n in names}
    stripped = match_names(domains, targets)
    assert list(stripped[0].values()) == list(stripped[1].values())


@pytest.mark.parametrize(
    "name",
    [
        "acc", "acc_norm", "mmlu_acc", "MMLU Acc", "arc/acc,none", "top5acc", "accNorm", "ACC",
        "accuracy", "eval-accuracy", "f1", "macro_F1", "squad.f1", "em", "nq_em", "pass@1",
        "humaneval/pass_at_10", "exact_match", "exactMatch", "win_rate", "lc-win-rate", "bleu4",
        "sacrebleu", "rouge1", "rougeL", "ROUGE-2", "score", "mt_bench score", "solve_rate",
        "génie_acc",
    ],
)  # fmt: skip
def test_names_that_say_more_is_better(name):
    assert says_score(name)


@pytest.mark.parametrize(
    "name",
    [
        "access", "account", "system", "compass", "gem", "windows", "passages", "web", "scorecard",
        "accès", "acce\u0300s", "pdf1", "wf12", "f10", "rouges", "email", "winter", "match",
        "exact", "rate", "macc", "acc_loss", "score_nll", "pass_ppl", "em error", "", "42",
    ],
)  # fmt: skip
def test_names_that_do_not(name):
    assert not says_score(name)
