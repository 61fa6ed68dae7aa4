"""The batch APIs of two services on this machine, with a count of what was handed in."""

import asyncio
import json
from datetime import UTC, datetime

from aiohttp import web

import vendor_replies as replies


class BatchServer:
    """Takes batches; ``hang`` keeps the reply to a submission back after it was taken."""

    def __init__(self, *, hang=False, listed=True, refuses=False):
        self.hang, self.listed, self.refuses = hang, listed, refuses
        self.files, self.batches, self.submitted = {}, {}, 0
        self.taken = asyncio.Event()
        self.polls = 0

    async def handle(self, request, body, number):
        path = request.path.removeprefix("/v1")
        if path == "/files":
            name = f"file-{len(self.files)}"
            self.files[name] = body
            return web.json_response({"id": name, "object": "file"})
        if path in ("/batches", "/messages/batches"):
            if request.method == "GET":
                return self._list()
            return await self._take(path, body)
        if path.endswith(("/content", "/results")):
            return web.Response(body=self._results(path))
        return self._show(path.rpartition("/")[2])

    async def _take(self, path, body):
        if self.refuses:
            return web.json_response({"error": {"message": "no credit", "code": "insufficient_quota"}}, status=429)
        self.submitted += 1
        name = f"batch_{self.submitted}"
        made = datetime.now(UTC)
        if path == "/batches":
            entries = self.files[body["input_file_id"]]
            metadata = body["metadata"]
        else:
            entries, metadata = body["requests"], None
        self.batches[name] = {"entries": entries, "made": made, "metadata": metadata}
        if self.hang:
            await asyncio.sleep(60)
        return web.json_response(self._about(name))

    def _about(self, name):
        batch = self.batches[name]
        over = self.polls >= 2
        if batch["metadata"] is not None:
            return {
                "id": name,
                "object": "batch",
                "endpoint": "/v1/chat/completions",
                "input_file_id": "file-0",
                "completion_window": "24h",
                "created_at": int(batch["made"].timestamp()),
                "status": "completed" if over else "in_progress",
                "output_file_id": f"file-out-{name}" if over else None,
                "error_file_id": f"file-err-{name}" if over else None,
                "metadata": batch["metadata"],
                "request_counts": {"total": len(batch["entries"]), "completed": 2 if over else 0, "failed": 1},
            }
        counts = {"processing": len(batch["entries"]), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
        if over:
            counts = {
                "processing": 0,
                "succeeded": 2,
                "errored": 1,
                "canceled": 0,
                "expired": len(batch["entries"]) - 3,
            }
        return {
            "id": name,
            "type": "message_batch",
            "created_at": batch["made"].isoformat().replace("+00:00", "Z"),
            "expires_at": batch["made"].isoformat().replace("+00:00", "Z"),
            "processing_status": "ended" if over else "in_progress",
            "request_counts": counts,
            "results_url": "https://elsewhere.example/steal" if over else None,
        }

    def _list(self):
        names = list(self.batches)[::-1] if self.listed else []
        return web.json_response({"data": [self._about(name) for name in names], "has_more": False})

    def _show(self, name):
        self.polls += 1
        return web.json_response(self._about(name))

    def _results(self, path):
        parts = path.split("/")
        name = parts[2].removeprefix("file-out-").removeprefix("file-err-") if "content" in path else parts[3]
        is_error_file = "file-err" in path
        lines = []
        for number, entry in reversed(list(enumerate(self.batches[name]["entries"]))):
            if "body" in entry:
                if (number >= 2) != is_error_file:
                    continue
                line = {"id": f"batch_req_{number}", "custom_id": entry["custom_id"], "response": None, "error": None}
                if number < 2:
                    line["response"] = {"status_code": 200, "request_id": "r", "body": replies.CHAT_WHOLE}
                elif number == 2:
                    body = {"error": {"message": "too long", "type": "invalid_request_error"}}
                    line["response"] = {"status_code": 400, "request_id": "r", "body": body}
                else:
                    line["error"] = {"code": "batch_expired", "message": "This request could not be executed in time."}
                lines.append(line)
                continue
            result = {"type": "expired"}
            if number < 2:
                result = {"type": "succeeded", "message": replies.ANTHROPIC_WHOLE}
            elif number == 2:
                error = {"type": "invalid_request_error", "message": "too long"}
                result = {"type": "errored", "error": {"type": "error", "error": error, "request_id": None}}
            lines.append({"custom_id": entry["custom_id"], "result": result})
        return "".join(json.dumps(line) + "\n" for line in lines).encode()
