from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.cache_key import cache_key, content_of, relevant_settings

pytestmark = pytest.mark.unit

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
INPUTS = st.dictionaries(st.text("abc", min_size=1, max_size=2), JSON, max_size=3)


def text(inputs):
    return json.dumps(inputs, sort_keys=True)


@given(INPUTS, INPUTS)
def test_keys_are_equal_when_all_inputs_are_and_only_then(one, other):
    assert (cache_key("training", **one) == cache_key("training", **other)) == (text(one) == text(other))


@given(INPUTS)
def test_the_order_of_the_inputs_does_not_matter(inputs):
    assert cache_key("training", **inputs) == cache_key("training", **dict(reversed(inputs.items())))


def test_a_training_and_a_tuning_of_the_same_inputs_are_two():
    assert cache_key("training", alpha=1) != cache_key("tuning", alpha=1)


def test_a_key_can_be_part_of_the_id_of_a_run():
    assert cache_key("training", alpha=0.5) == cache_key("training", alpha=0.5)
    assert len(cache_key("training")) == 16
    assert cache_key("training").isalnum()


def test_the_content_of_a_directory_is_its_files_whatever_their_age(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "train.py").write_text("print(1)")
    (tmp_path / "deep" / "data.csv").write_text("a,b")
    before = content_of(tmp_path)
    assert set(before) == {"train.py", "deep/data.csv"}
    (tmp_path / "train.py").write_text("print(1)")
    assert content_of(tmp_path) == before
    (tmp_path / "train.py").write_text("print(2)")
    assert content_of(tmp_path) != before


def test_what_python_and_the_ignore_file_leave_out_does_not_count(tmp_path):
    (tmp_path / "train.py").write_text("print(1)")
    before = content_of(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "train.pyc").write_bytes(b"\0")
    (tmp_path / "notes.txt").write_text("for me")
    assert content_of(tmp_path, lambda path: path.endswith("notes.txt")) == before


def test_tags_and_time_limits_do_not_make_another_result():
    settings = {"script_parameters": {"--alpha": 0.5}, "run_tags": {}, "max_run_duration_seconds": None}
    tagged = settings | {"run_tags": {"team": "a"}, "max_run_duration_seconds": 60}
    assert relevant_settings(settings) == relevant_settings(tagged)
    other = settings | {"script_parameters": {"--alpha": 0.2}}
    assert relevant_settings(settings) != relevant_settings(other)
