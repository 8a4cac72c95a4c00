"""Files of mixtures."""

import json

import pytest

from bimix_jax.mixture.files import read_mixtures

SHARES = {"web": 0.5, "code": 0.3, "books": 0.2}


@pytest.mark.parametrize(
    "document",
    [SHARES, {"mixture": SHARES}, [{"domain": d, "weight": w} for d, w in SHARES.items()]],
)
def test_forms_of_one_mixture_in_json(tmp_path, document):
    (tmp_path / "m.json").write_text(json.dumps(document))
    found = read_mixtures(tmp_path / "m.json", tuple(SHARES))
    assert found.to_dict("records") == [SHARES]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"web": 0.5', "not complete JSON"),
        ("[" * 9000, "nested deeper"),
        ('[{"domain": "web", "weight": 1}, {"domain": "web", "weight": 0}]', "each once"),
        ('{"web": 0.5, "web": 0.5, "code": 0, "books": 0}', "twice"),
        ('{"web": true, "code": 0, "books": 0}', "web is True; expected proportions"),
        ('{"web": "half", "code": 0, "books": 0}', "web is 'half'; expected proportions"),
        ("[1, 2]", "expected a JSON object"),
    ],
)
def test_damage_is_named(tmp_path, text, words):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_mixtures(tmp_path / "m.json", tuple(SHARES))
