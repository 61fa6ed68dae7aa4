"""A shell reads a command as it is meant, whatever stands in the request."""

import json
import shutil
import subprocess

import pytest

from steelyard.report.curl import END, curl_command
from steelyard.types import WireRequest

SHELLS = [shell for shell in ("sh", "dash", "bash", "zsh") if shutil.which(shell)]
pytestmark = pytest.mark.skipif(not SHELLS, reason="no POSIX shell here")

TOLD = """curl() { for word in "$@"; do printf '%s\\0' "$word"; done; cat; }\n"""
TEXTS = (
    "'; touch owned; '", '"; touch owned; "', "$(touch owned)", "`touch owned`", "${HOME} $HOME $KEY !! !$",
    f"a\n{END}\ntouch owned\n", "back\\slash \\\\ \\' end\\", "\r\n\t\x00\x1b[31m\x7f", "\u202e\u200b\u2028\U000e0001",
    "##[group]x ##vso[y]\n::error::z", "é 中 😀", "*?[a-z]{a,b} ~ & | ; < > ( ) #",
)  # fmt: skip


def request_of(text):
    body = json.dumps({"model": text, text: [text]}, ensure_ascii=False)
    url = f"http://127.0.0.1:9/v1/it's?{'a=$(touch+owned)&b=`id`;c'}"
    return WireRequest(
        url=url,
        headers={"Content-Type": "application/json", "Authorization": "Bearer $KEY"},
        body=body,
        key_variable="KEY",
    )


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_hands_on_the_address_the_headers_and_the_body_to_the_letter(shell, text, tmp_path):
    request, key = request_of(text), "a 'key' with $(touch owned) and \"quotes\""
    command = curl_command(request)
    done = subprocess.run(
        [shell, "-c", TOLD + command],
        env={"PATH": "/usr/bin:/bin", "KEY": key},
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    *words, body = done.stdout.decode().split("\0")
    assert words == ["--no-buffer", "--globoff", request.url, "-H", "Content-Type: application/json",
                     "-H", f"Authorization: Bearer {key}", "--data-binary", "@-"]  # fmt: skip
    assert json.loads(body) == json.loads(request.body)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", TEXTS)
def test_no_terminal_and_no_log_obeys_a_command(text):
    command = curl_command(request_of(text))
    assert command.replace("\n", "").isprintable()
    assert "##" not in command.replace("\\u0023", "")
    assert "\n::" not in command
