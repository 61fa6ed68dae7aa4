"""How far a cell may be asked, and how far it is done: only complete prefixes are ever said to be done."""

import asyncio

from steelyard.engine.schedule.horizon import Horizon, wait_for_move


def watched(end):
    horizon, told = Horizon(end, is_closed=False), []
    horizon.on_done = told.append
    return horizon, told


def test_without_a_rule_there_is_one_stretch_of_everything():
    horizon = Horizon(20)
    stretch = horizon.take()
    assert (stretch.first, stretch.last, horizon.is_spent) == (0, 20, True)


def test_a_stretch_is_done_when_its_last_request_is_and_not_before_it_is_loaded():
    horizon, told = watched(10)
    stretch = horizon.take()
    horizon.enter(stretch, (0, 0))
    horizon.leave((0, 0))
    assert told == []
    horizon.enter(stretch, (0, 0))
    horizon.loaded(stretch)
    assert told == []
    horizon.leave((0, 0))
    assert told == [10]


def test_a_later_stretch_that_ends_first_is_no_prefix():
    horizon, told = watched(10)
    first = horizon.take()
    horizon.enter(first, (0, 0))
    horizon.loaded(first)
    horizon.move(20)
    second = horizon.take()
    horizon.enter(second, (1, 0))
    horizon.loaded(second)
    horizon.leave((1, 0))
    assert told == []
    horizon.leave((0, 0))
    assert told == [20]


def test_what_an_earlier_session_left_unscored_comes_before_the_first_look():
    horizon, told = watched(10)
    horizon.enter(horizon.earlier, (-1, 7))
    horizon.loaded(horizon.take())
    assert told == []
    horizon.leave((-1, 7))
    assert told == [10]


def test_nothing_is_done_any_more_once_the_lane_was_stopped():
    horizon, told = watched(10)
    stretch = horizon.take()
    horizon.enter(stretch, (0, 0))
    horizon.loaded(stretch)
    horizon.abandon()
    horizon.leave((0, 0))
    assert (told, horizon.is_spent, horizon.has_more) == ([], True, False)


def test_who_waits_is_woken_by_a_move_a_close_or_a_stop():
    async def woken(act):
        horizon = Horizon(10, is_closed=False)
        horizon.take()
        waiting = asyncio.ensure_future(wait_for_move([horizon, Horizon(5)]))
        await asyncio.sleep(0)
        assert not waiting.done()
        act(horizon)
        await asyncio.wait_for(waiting, 30)

    for act in (lambda horizon: horizon.move(20), Horizon.close, Horizon.abandon):
        asyncio.run(woken(act))


def test_a_horizon_never_moves_back():
    horizon = Horizon(10, is_closed=False)
    horizon.move(5)
    assert horizon.end == 10
