"""Which answers may be put side by side, and what is said of those that cannot."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_metrics import INFO, columns

from steelyard.analysis.estimates import distinct
from steelyard.analysis.pairing import (
    check_pairable,
    differing_fields,
    differing_settings,
    lost_range,
    pair_scores,
)
from steelyard.errors import UsageError

NAN = float("nan")


def changed(**fields):
    return msgspec.structs.replace(INFO, **fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dataset_digest": "e" * 64}, "dataset digest is 'd' in one and eeeeeeeeeeee in the other"),
        ({"revision": "abc"}, "revision is none in one and 'abc' in the other"),
        ({"benchmark": "c"}, "benchmark is 'b' in one and 'c' in the other"),
        ({"part": "x"}, "part is none in one and 'x' in the other"),
        ({"protocol_version": "2"}, "protocol version is '1' in one and '2' in the other"),
        ({"prompt_digest": "q"}, "prompt digest is 'p' in one and 'q' in the other. Try: run both anew"),
        ({"protocol": "q"}, "--across protocol"),
        ({"settings": {"judge_origin": "https://j"}}, "judge is none in one and 'https://j' in the other"),
    ],
)
def test_what_cannot_be_paired_is_refused_and_the_field_is_named(fields, words):
    with pytest.raises(UsageError, match="cannot be paired") as caught:
        check_pairable(INFO, changed(**fields))
    assert words in str(caught.value)


def test_another_judge_is_another_grader():
    judged = [
        changed(prompt_digest=name, settings={"protocol": {"judge": {"model": name, "repeats": 3}}}) for name in "jk"
    ]
    with pytest.raises(UsageError, match="cannot be paired: judge's model is 'j' in one and 'k' in the other; prompt"):
        check_pairable(*judged)


def test_two_models_of_different_origin_and_size_of_sample_are_pairable():
    check_pairable(INFO, changed(model="other", origin="elsewhere", items=3, repeats=4))


def test_across_protocols_the_words_may_differ_but_not_the_rows():
    other = changed(protocol="cot", protocol_version="3", prompt_digest="x", shots=3, kind="completion")
    check_pairable(INFO, other, across=("protocol",))
    mixed = msgspec.structs.replace(other, dataset_digest="e")
    assert [one.field for one in differing_fields(INFO, mixed, across=("protocol",))] == ["dataset_digest"]


def test_other_sampling_settings_are_said_and_not_refused():
    warm = changed(settings={"model": {"id": "m", "temperature": 0.7}})
    check_pairable(INFO, warm)
    assert [(one.field, one.a, one.b) for one in differing_settings(INFO, warm)] == [("temperature", None, 0.7)]


def test_items_are_joined_whatever_their_order_and_each_side_says_what_it_lacks():
    a = columns([1, 0, 1, NAN], sample=np.array([7, 3, 5, 4]))
    b = columns([0, 1, 1, 1, 0], sample=np.array([5, 3, 9, 4, 8]))
    pair = pair_scores(a, b, "accuracy")
    assert pair.items.tolist() == [3, 5]
    assert (pair.a.tolist(), pair.b.tolist()) == ([0, 1], [1, 0])
    assert (pair.only_a.tolist(), pair.only_b.tolist()) == ([7], [8, 9])
    assert (pair.lost_a.tolist(), pair.lost_b.tolist()) == ([4], [])
    assert (pair.n, pair.n_common, pair.is_single) == (2, 3, True)


def test_what_was_lost_on_one_side_has_bounds_and_is_not_dropped_in_silence():
    a, b = columns([1, 1, 0, NAN]), columns([1, 0, NAN, 1])
    found = lost_range(a, b, "accuracy")
    assert found.low == pytest.approx((0 + 1 - 1 - 1) / 4)
    assert found.high == pytest.approx((0 + 1 + 0 + 0) / 4)
    whole = lost_range(columns([1, 0]), columns([0, 0]), "accuracy")
    assert whole.low == whole.high == 0.5


def test_repeats_are_item_means_and_a_lost_repeat_leaves_the_item():
    a = columns([1, 0, 1, NAN], sample=np.array([0, 0, 1, 1]))
    b = columns([1, 1, 0, 0], sample=np.array([0, 0, 1, 1]))
    pair = pair_scores(a, b, "accuracy")
    assert (pair.a.tolist(), pair.b.tolist(), pair.is_single) == ([0.5, 1.0], [1.0, 0.0], False)
    assert lost_range(a, b, "accuracy").low == pytest.approx(0.0)


def test_clusters_are_of_the_paired_items_only():
    cluster = np.array([0, 0, 1, -1])
    a, b = columns([1, 0, 1, 0], cluster=cluster), columns([1, 1, 1, 1], cluster=cluster)
    assert len(set(pair_scores(a, b, "accuracy").clusters.tolist())) == 3
    b = columns([1, 1, 1], sample=np.array([0, 2, 3]), cluster=cluster[[0, 2, 3]])
    assert pair_scores(a, b, "accuracy").clusters is None


def test_the_other_side_sees_the_same_with_the_sign_turned():
    a, b = columns([1, 0, NAN]), columns([0, 0, 1, 1])
    there, back = pair_scores(a, b, "accuracy"), pair_scores(b, a, "accuracy")
    assert there.differences.tolist() == (-back.differences).tolist() == [1, 0]
    assert there.lost_a.tolist() == back.lost_b.tolist() == [2]
    assert there.only_b.tolist() == back.only_a.tolist() == [3]


@given(st.lists(st.integers(-(2**62), 2**62)))
def test_items_that_are_told_apart_are_those_of_numpy(items):
    given_items = np.array(items, dtype=np.int64)
    assert distinct(given_items).tolist() == np.unique(given_items).tolist()
