"""The batch APIs of OpenAI and Anthropic on this machine: answers by the question, in another order, and holds at will.

A question that says ``fail`` is refused, one that says ``late`` expires; any other is answered, the odd ones rightly.
"""

import asyncio
import json
import random
import re
import threading
from collections import Counter
from datetime import UTC, datetime

from aiohttp import web


class House:
    """``hold`` names the moment at which the service stops replying: upload, create, created, poll or results.

    So often as ``short`` says, the results of a batch end within the line of their last answer. ``stutters``: each
    answer is followed by lines of the same name that take it back, in shapes that were not agreed. ``counts`` are the
    tokens that each answer is said to have.
    """

    def __init__(self, *, hold=None, polls=2, most_waiting=None, refuses=None, short=0, stutters=False, counts=2):
        self.stutters, self.counts = stutters, counts
        self.hold, self.polls, self.most_waiting, self.refuses = hold, polls, most_waiting, refuses
        self.held, self._released = threading.Event(), threading.Event()
        self.files, self.batches = {}, {}
        self.most_in_progress = 0
        self.short = short

    @property
    def asked(self):
        """How often each question stands in a batch that was taken and begun."""
        taken = [entry for batch in self.batches.values() if not batch["failed"] for entry in batch["entries"]]
        return Counter(question_of(entry) for entry in taken)

    async def handle(self, request, body, number):
        path = request.path.removeprefix("/v1")
        if path == "/files":
            name = f"file-{len(self.files)}"
            self.files[name] = body
            await self._holds("upload")
            return web.json_response({"id": name, "object": "file"})
        if path in ("/batches", "/messages/batches"):
            if request.method == "GET":
                return web.json_response({"data": [self._about(b) for b in reversed(self.batches)], "has_more": False})
            return await self._take(body)
        if path.endswith(("/content", "/results")):
            return await self._results(request, path)
        name = path.rpartition("/")[2]
        self.batches[name]["polls"] += 1
        await self._holds("poll")
        return web.json_response(self._about(name))

    def release(self):
        """Reply to whoever asks from now on."""
        self.hold = None
        self._released.set()

    async def _holds(self, moment):
        if self.hold == moment:
            self.held.set()
            await asyncio.to_thread(self._released.wait, 60)
            raise web.HTTPServiceUnavailable()  # to nobody: who asked is dead

    async def _take(self, body):
        await self._holds("create")
        name = f"batch_{len(self.batches)}"
        is_openai = "input_file_id" in body
        entries = self.files[body["input_file_id"]] if is_openai else body["requests"]
        waiting = [batch for batch in self.batches.values() if not self._is_over(batch)]
        too_much = self.most_waiting is not None and len(entries) + sum(
            len(batch["entries"]) for batch in waiting
        ) > self.most_waiting  # fmt: skip
        self.batches[name] = {
            "entries": entries,
            "made": datetime.now(UTC),
            "metadata": body.get("metadata"),
            "is_openai": is_openai,
            "polls": 0,
            "failed": too_much,
        }
        self.most_in_progress = max(self.most_in_progress, len(waiting) + 1 - too_much)
        await self._holds("created")
        return web.json_response(self._about(name))

    def _is_over(self, batch):
        return batch["failed"] or batch["polls"] >= self.polls

    def _about(self, name):
        batch = self.batches[name]
        over, entries = self._is_over(batch), batch["entries"]
        ends = Counter(end_of(entry, self.refuses)[0] for entry in entries)
        if batch["is_openai"]:
            told = {
                "id": name,
                "created_at": int(batch["made"].timestamp()),
                "metadata": batch["metadata"],
                "status": "expired" if ends["late"] and over else "completed" if over else "in_progress",
                "request_counts": {
                    "total": len(entries),
                    "completed": ends["answered"] if over else min(1, ends["answered"]),
                    "failed": ends["fail"] if over else 0,
                },
                "output_file_id": f"file-out-{name}" if over else None,
                "error_file_id": f"file-err-{name}" if over else None,
            }
            if batch["failed"]:
                error = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached for m in o."}
                told |= {"status": "failed", "errors": {"data": [error]}, "request_counts": {}}
            return told
        counts = {"processing": len(entries), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
        if over:
            counts |= {"processing": 0, "succeeded": ends["answered"], "errored": ends["fail"], "expired": ends["late"]}
        return {
            "id": name,
            "created_at": batch["made"].isoformat().replace("+00:00", "Z"),
            "processing_status": "ended" if over else "in_progress",
            "request_counts": counts,
        }

    async def _results(self, request, path):
        name = re.search(r"batch_\d+", path)[0]
        batch = self.batches[name]
        entries = list(batch["entries"])
        random.Random(name).shuffle(entries)
        lines = [self._openai_line(entry) if batch["is_openai"] else self._anthropic_line(entry) for entry in entries]
        if batch["is_openai"]:
            is_error_file = "file-err" in path
            lines = [
                line for line in lines if bool(line["error"] or line["response"]["status_code"] != 200) == is_error_file
            ]
        if self.stutters:
            lines = [each for line in lines for each in (line, *(taken_back(line) if "m-2026" in str(line) else ()))]
        written = [json.dumps(line).encode() + b"\n" for line in lines]
        answers = [place for place, line in enumerate(written) if b"m-2026" in line]
        if self.short and answers:
            self.short -= 1
            written = [*written[: answers[-1]], *written[answers[-1] + 1 :], written[answers[-1]][:40]]
        response = web.StreamResponse()
        await response.prepare(request)
        for place, line in enumerate(written):
            if place == len(written) // 2 and written:
                await self._holds("results")
            await response.write(line)
        await response.write_eof()
        return response

    def _openai_line(self, entry):
        end, text = end_of(entry, self.refuses)
        line = {"custom_id": entry["custom_id"], "response": None, "error": None}
        if end == "late":
            return line | {"error": {"code": "batch_expired", "message": "not executed before the window ended"}}
        if end == "fail":
            body = {"error": {"message": text, "type": "invalid_request_error"}}
            return line | {"response": {"status_code": 400, "body": body}, "error": True}
        message = {"role": "assistant", "content": text}
        body = {
            "model": "m-2026",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": self.counts},
        }
        return line | {"response": {"status_code": 200, "body": body}}

    def _anthropic_line(self, entry):
        end, text = end_of(entry, self.refuses)
        result = {"type": "expired"}
        if end == "fail":
            error = {"type": "invalid_request_error", "message": text}
            result = {"type": "errored", "error": {"type": "error", "error": error}}
        elif end == "answered":
            message = {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "m-2026",
                "content": [{"type": "text", "text": text}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 10, "output_tokens": self.counts},
            }
            result = {"type": "succeeded", "message": message}
        return {"custom_id": entry["custom_id"], "result": result}


def body_of(entry):
    return entry.get("body") or entry["params"]


def question_of(entry):
    content = body_of(entry)["messages"][-1]["content"]
    return content if isinstance(content, str) else content[0]["text"]


def end_of(entry, refuses):
    """How a request ends, and what is said."""
    question = question_of(entry)
    if refuses is not None and refuses in body_of(entry):
        return "fail", f"Unsupported value: '{refuses}' does not support 0 with this model."
    if "fail" in question:
        return "fail", "the prompt is too long"
    if "late" in question:
        return "late", ""
    number = int(re.search(r"Say (\d+)", question)[1])
    return "answered", str(number if number % 2 else -1)


def taken_back(line):
    """The line of an answer once more, with something else in the place of each of its parts."""
    for odd in ("gone", None, [], {"type": "errored", "error": "gone"}, {"status_code": "gone"}):
        yield {"custom_id": line["custom_id"], "result": odd, "response": odd, "error": "gone"}
    yield {"custom_id": line["custom_id"], "result": {"type": "canceled"}, "error": {"code": "batch_expired"}}
