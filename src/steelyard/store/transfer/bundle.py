"""One run as one file, to be sent and to come back: a line that says what it is, then a store of that run alone.

The first line is JSON and can be read with ``head -1``. What follows is an SQLite file, compressed with zstandard; its
digest stands in the first line. A bundle that comes in is written by somebody else: it is read as a damaged store would
be, row by row into a new one, and taken only if nothing was found wrong with it.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import msgspec
import zstandard
from msgspec import Struct

from steelyard.errors import DataError, StoreError, UsageError
from steelyard.store.database import migrations
from steelyard.store.store import Store
from steelyard.store.transfer.crossing import copy_between
from steelyard.store.transfer.export import new_file
from steelyard.store.transfer.salvage import salvage
from steelyard.types import RunInfo
from steelyard.types.ready import ready

KIND = "run"
BEGIN = b'{"steelyard_bundle":"run"'
LONGEST_LINE = 64 * 1024
LEVEL = 9
AT_ONCE = 1 << 20
FOLLOWS = {"calls", "cells"}
"""Tables of which figures may be mended that follow from a row's own payload; nothing else is made up for anybody."""


class Manifest(Struct, frozen=True, kw_only=True):
    """The first line of a bundle. ``bytes`` and ``sha256`` are of the store in it; ``hidden``: texts were left out."""

    steelyard_bundle: str
    version: str
    schema: int
    run: str
    number: int
    name: str
    status: str
    created_at: str
    answers: int
    hidden: bool
    bytes: int
    sha256: str


def write_bundle(store: Store, run: RunInfo, output: Path, *, reveal: bool = False) -> Manifest:
    """Write the run as it is now; the file appears when complete, for the user alone to read.

    Texts of a confidential benchmark are left out unless ``reveal``: such a run shows the same elsewhere, but its
    answers are not graded again or used again there.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".bundle-", dir=output.parent) as folder:
        alone = Path(folder) / "run.db"
        with Store.open(alone) as copy:
            copy_between(store, copy, run, hide_confidential=not reveal)
            copied, answers = copy.run(run.id), copy.progress(run.id).done
        with closing(sqlite3.connect(alone, isolation_level=None)) as raw:
            raw.execute("PRAGMA journal_mode=DELETE")  # all of it in the one file
        with alone.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        manifest = Manifest(
            steelyard_bundle=KIND,
            version=_version(),
            schema=migrations.VERSION,
            run=run.id,
            number=run.number,
            name=run.name,
            status=copied.status,
            created_at=run.created_at,
            answers=answers,
            hidden=not reveal and any(info.is_confidential for info in store.cells(run.id)),
            bytes=alone.stat().st_size,
            sha256=digest,
        )
        with new_file(output) as unfinished, unfinished.open("wb") as file, alone.open("rb") as content:
            file.write(msgspec.json.encode(manifest) + b"\n")
            zstandard.ZstdCompressor(level=LEVEL).copy_stream(content, file, size=manifest.bytes)
    return manifest


def is_bundle(file: Path) -> bool:
    """Whether the file begins as a bundle does."""
    try:
        with file.open("rb") as content:
            return content.read(len(BEGIN)) == BEGIN
    except OSError:
        return False


def read_bundle(file: Path, target: str | Path | None, *, name: str | None = None) -> RunInfo:
    """Bring the run into the store, which is made where there is none; nothing is changed where the file is refused."""
    with _unpacked(file) as (manifest, alone):
        _check_absent(manifest, target)
        checked = alone.with_name("checked.db")
        found = salvage(alone, checked)
        with Store.open(checked) as source:
            runs = source.runs()
            if found.bad or found.mended.keys() - FOLLOWS or [run.id for run in runs] != [manifest.run]:
                what = f"{found.bad[0].table}: {found.bad[0].reason}" if found.bad else "it does not hold together"
                raise DataError(f"{file} is damaged ({what}). Nothing was imported. Try: another copy of it")
            with Store.open(target) as store:
                copy_between(source, store, runs[0])
                if name is not None:
                    store.rename(manifest.run, name)
                return store.run(manifest.run)


def _check_absent(manifest: Manifest, target: str | Path | None) -> None:
    if not Store.exists(target):
        return
    with Store.open(target) as store:
        here = next((run for run in store.runs() if run.id == manifest.run), None)
        if here is None:
            return
        answers = store.progress(here.id).done
    raise UsageError(
        f"the run is here already, as #{here.number} {here.name} with {answers:,} answers; the file has "
        f"{manifest.answers:,}. Nothing was changed. Try: steelyard show {here.number}, or another --store"
    )


@contextmanager
def _unpacked(file: Path) -> Iterator[tuple[Manifest, Path]]:
    """The bundle's first line, and its store in a folder that goes afterwards; what is damaged or newer is refused."""
    try:
        with file.open("rb") as content, TemporaryDirectory(prefix="steelyard-bundle-") as folder:
            manifest = _manifest(file, content.readline(LONGEST_LINE))
            alone = Path(folder) / "run.db"
            _unpack(file, content, alone, manifest)
            yield manifest, alone
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error


def _manifest(file: Path, line: bytes) -> Manifest:
    try:
        found = msgspec.json.decode(line, type=ready(Manifest))
    except msgspec.MsgspecError as error:
        raise DataError(f"{file} is no bundle, or a damaged one: its first line says nothing ({error})") from error
    if found.schema > migrations.VERSION:
        raise StoreError(
            f"{file} was written by a newer Steelyard ({found.version}, schema {found.schema}; this one knows "
            f"{migrations.VERSION}). Nothing was imported. Try: pip install --upgrade steelyard"
        )
    return found


def _unpack(file: Path, content: BinaryIO, alone: Path, manifest: Manifest) -> None:
    damaged = f"{file} is damaged or cut short ({{}}). Nothing was imported. Try: another copy of it"
    digest, size = hashlib.sha256(), 0
    try:
        with alone.open("wb") as unpacked:
            for part in zstandard.ZstdDecompressor().read_to_iter(content, write_size=AT_ONCE):
                size += len(part)
                if size > manifest.bytes:
                    break
                digest.update(part)
                unpacked.write(part)
    except zstandard.ZstdError as error:
        raise DataError(damaged.format(error)) from error
    if size != manifest.bytes:
        raise DataError(damaged.format(f"{size:,} of {manifest.bytes:,} bytes"))
    if digest.hexdigest() != manifest.sha256:
        raise DataError(damaged.format("its digest is another one"))


def _version() -> str:
    from importlib.metadata import version

    return version("steelyard")
