"""What a map is made of, as JSON: what is written is read as it was, and of any other text it is said what is wrong."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdb.results.provenance import PARTS, Provenance
from kdb.system.limits import PROVENANCE_CHARACTERS
from tests.results.test_heatmap import PROVENANCE

NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
SETTINGS = st.dictionaries(st.text(), st.none() | st.booleans() | NUMBERS | st.text() | st.lists(NUMBERS).map(tuple))


@given(SETTINGS, st.dictionaries(st.text(), st.text()), st.none() | st.text(), st.text(), st.integers())
def test_what_is_written_is_read_as_it_was(
    settings: dict[str, Any], versions: dict[str, str], source: str | None, text: str, threads: int
) -> None:
    written = replace(
        PROVENANCE, preprocessing=settings, versions=versions, source_of=source, processor=text, threads=threads
    )
    assert Provenance.from_json(written.to_json()) == written


def changed(**facts: Any) -> str:
    return json.dumps({**json.loads(PROVENANCE.to_json()), **facts})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Expecting value"),
        ("[]", "is no object of JSON"),
        ("NaN", "has NaN, which is no number of JSON"),
        ("{}", "has no 'preprocessing'"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 10_000, None),
        (f'"{" " * PROVENANCE_CHARACTERS}"', "characters, more than"),
        (changed(more=1), "has 'more'"),
        (changed(threads="2"), "has '2' for 'threads'"),
        (changed(threads=True), "has 'True' for 'threads'"),
        (changed(machine=None), "has 'None' for 'machine'"),
        (changed(source_of=1), "has '1' for 'source_of'"),
        (changed(versions=["1"]), "for 'versions'"),
        (changed(versions={"kdb": 1}), "for 'versions'"),
        (changed(parts={}), "has no 'graph' in 'parts'"),
        (changed(preprocessing=[]), "for 'preprocessing'"),
        (changed(preprocessing={"mean": [[1.0]]}), "for 'preprocessing'"),
        (changed(preprocessing={"mean": {"a": 1}}), "for 'preprocessing'"),
        (changed(processor={"a": "b" * 1000}), "for 'processor'"),
    ],
)
def test_any_other_text_is_refused_in_few_words(text: str, said: str | None) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        Provenance.from_json(text)
    assert len(str(caught.value)) < 200


def test_each_field_is_looked_at() -> None:
    for field in fields(Provenance):
        with pytest.raises(ValueError, match=f"'{field.name}'"):
            Provenance.from_json(changed(**{field.name: [object.__name__]}))
    assert {*PARTS} == {"graph", "weights", "preprocessing", "labels"}
