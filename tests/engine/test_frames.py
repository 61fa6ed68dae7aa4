"""The wire between a run and its processes: whole messages, however the bytes of them come."""

import asyncio
import socket

import msgspec
import pytest

from steelyard.engine.processes.frames import LENGTH_BYTES, Durable, FromScribe, Ready, Tell, ToRun, Wire
from steelyard.types.ready import ready


def decoder(of=ToRun):
    return msgspec.msgpack.Decoder(ready(list[of]))


def framed(*messages):
    frame = msgspec.msgpack.encode(messages)
    return len(frame).to_bytes(LENGTH_BYTES, "big") + frame


def over_a_pair(story):
    """What the story makes of a wire and of the bare socket at its other end."""

    async def told():
        async with asyncio.timeout(20):
            end, other = socket.socketpair()
            other.setblocking(False)
            wire = await Wire.over(end)
            try:
                return await story(wire, other)
            finally:
                wire.close()
                other.close()

    return asyncio.run(told())


@pytest.mark.parametrize("size", [1, 3, 7, 1_000])
def test_frames_are_heard_whole_and_in_order_in_whatever_pieces_they_come(size):
    said = framed(Tell(text="one"), Tell(text="two")) + framed(Tell(text="three"))

    async def story(wire, other):
        async def send():
            for begin in range(0, len(said), size):
                await asyncio.get_running_loop().sock_sendall(other, said[begin : begin + size])
                await asyncio.sleep(0)

        sending = asyncio.create_task(send())
        heard = [await wire.hear(decoder()), await wire.hear(decoder())]
        await sending
        return [[message.text for message in frame] for frame in heard]

    assert over_a_pair(story) == [["one", "two"], ["three"]]


def test_what_is_said_in_one_turn_is_one_frame_however_large():
    ids = tuple(range(1 << 32, (1 << 32) + 200_000))  # 1.8 MB, more than a socket takes at once

    async def story(wire, other):
        wire.say(Durable(ids=ids))
        wire.say(Ready())
        listening = await Wire.over(other.dup())
        heard, _ = await asyncio.gather(listening.hear(decoder(FromScribe)), wire.flush())
        listening.close()
        return heard

    durable, after = over_a_pair(story)
    assert durable.ids == ids
    assert after == Ready()


def test_what_came_before_the_other_side_went_is_heard_and_half_a_frame_is_not():
    async def story(wire, other):
        await asyncio.get_running_loop().sock_sendall(other, framed(Tell(text="last words")) + framed(Ready())[:-1])
        other.close()
        await asyncio.sleep(0.05)
        return [await wire.hear(decoder()) for _ in range(3)]

    assert over_a_pair(story) == [[Tell(text="last words")], [], []]


def test_who_listens_learns_that_the_other_side_has_gone():
    async def story(wire, other):
        listening = asyncio.create_task(wire.hear(decoder()))
        await asyncio.sleep(0)
        other.close()
        return await listening

    assert over_a_pair(story) == []


def test_what_comes_after_a_listener_was_called_off_is_heard_by_the_next():
    async def story(wire, other):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wire.hear(decoder()), 0.01)
        await asyncio.get_running_loop().sock_sendall(other, framed(Tell(text="late")))
        return await wire.hear(decoder())

    assert over_a_pair(story) == [Tell(text="late")]


def test_who_has_said_too_much_waits_until_it_is_taken_or_nobody_is_left_to_take_it():
    async def story(wire, other):
        wire.say(Tell(text="x" * 10_000_000))
        flushing = asyncio.create_task(wire.flush())
        await asyncio.sleep(0.05)
        waited = not flushing.done()
        other.close()
        with pytest.raises(ConnectionError):
            await flushing
        wire.say(Tell(text="to nobody"))
        with pytest.raises(ConnectionError):
            await wire.flush()
        return waited

    assert over_a_pair(story)


def test_who_leaves_has_said_all_before():
    async def story(wire, other):
        wire.say(Tell(text="y" * 1_000_000))
        listening = await Wire.over(other.dup())
        heard, _ = await asyncio.gather(listening.hear(decoder()), wire.leave())
        end = await listening.hear(decoder())
        listening.close()
        return len(heard[0].text), end

    assert over_a_pair(story) == (1_000_000, [])
