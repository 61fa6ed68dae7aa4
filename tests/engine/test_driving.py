"""What becomes of the other lanes where one of them fails."""

import asyncio

import pytest

from steelyard.engine.driving import drive
from steelyard.engine.interrupt import Interrupt
from steelyard.engine.money.budget import Ledger
from steelyard.errors import EnvironmentFault


def test_where_one_lane_fails_the_others_are_called_off_and_what_they_have_is_written_before_the_run_ends():
    happened = []

    class Failing:
        stopped = None

        async def run(self, unscored):
            raise EnvironmentFault("4 workers died")

    class Asking(Failing):
        async def run(self, unscored):
            try:
                await asyncio.Event().wait()
            finally:
                happened.append("called off")

    class Looks:
        async def serve(self):
            return

    class Writer:
        async def serve(self):
            await asyncio.Event().wait()

        async def drain(self):
            happened.append("written")

        def hurry(self):
            pass

    async def story():
        with pytest.raises(EnvironmentFault, match="4 workers died"):
            await drive({Asking(): [], Failing(): []}, Looks(), Writer(), Ledger(), Interrupt())
        return list(happened)

    assert asyncio.run(story()) == ["called off", "written"]
