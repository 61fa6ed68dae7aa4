"""A root is found where it is, in few looks, however crooked the function."""

import math

import pytest

from steelyard.stats.roots import root_between

CLOSE = 1e-14


def found(function, low, high):
    looks = []

    def counted(place):
        looks.append(place)
        return function(place)

    root = root_between(counted, low, high, at_low=function(low), at_high=function(high), close=CLOSE)
    return root, len(looks)


@pytest.mark.parametrize(
    ("function", "low", "high", "root"),
    [
        (lambda x: x**3 - 2, 0.0, 2.0, 2 ** (1 / 3)),
        (lambda x: 2 - x**3, 0.0, 2.0, 2 ** (1 / 3)),
        (lambda x: math.exp(x) - 1e-3, -30.0, 30.0, math.log(1e-3)),
        (lambda x: 1 - x**21, 0.0, 3.0, 1.0),
        (lambda x: math.inf if x <= 0.1 else 1 / x - 3, 0.0, 1.0, 1 / 3),
        (lambda x: math.copysign(math.sqrt(abs(x - 0.3)), x - 0.3), 0.0, 1.0, 0.3),
    ],
    ids=["rising", "falling", "steep", "flat", "infinite at an end", "upright"],
)
def test_a_root_is_found_in_fewer_looks_than_halving_takes(function, low, high, root):
    place, looks = found(function, low, high)
    assert place == pytest.approx(root, rel=1e-12)
    assert looks < math.log2((high - low) / CLOSE)


def test_a_smooth_function_is_looked_at_ten_times():
    assert found(lambda x: x**3 - 2, 0.0, 2.0)[1] <= 10
