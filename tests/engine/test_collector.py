"""The garbage collector is held back while somebody measures, and is as it was afterwards."""

import gc

from steelyard.engine.weight.collector import NEW_OBJECTS, held_back


def test_of_runs_side_by_side_the_last_to_end_gives_the_collector_back_as_it_was():
    before = gc.get_threshold(), gc.get_freeze_count()
    one, other = held_back(), held_back()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert gc.get_threshold()[0] == NEW_OBJECTS
    assert gc.get_freeze_count() > 0
    other.__exit__(None, None, None)
    assert (gc.get_threshold(), gc.get_freeze_count()) == before
