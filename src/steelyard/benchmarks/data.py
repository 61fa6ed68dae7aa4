"""Where a benchmark's rows come from: a folder that ``STEELYARD_DATA`` names, else the hub at a pinned revision.

Rows are the same either way and are held to a pinned digest over their canonical form, so that a changed data set
is an error that names both digests, never a changed score.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from steelyard.errors import DataError, EnvironmentFault
from steelyard.folders import cache_folder

Row = dict[str, Any]
HEAD_ENDS = "\n-----\n"


class Source(Struct, frozen=True, kw_only=True):
    """One split of one data set: where it lies in the folder and on the hub, and what it must hold.

    ``digest`` is sha256 over the canonical rows: per row the JSON array of ``columns`` in order, then a line feed; it
    is ``None`` where nobody has seen the rows yet, and then any are taken. ``member`` and ``password``: the folder's
    file is an encrypted archive, which is read in memory.
    """

    name: str
    folder_file: str
    hub_id: str
    hub_file: str
    revision: str
    split: str
    columns: tuple[str, ...]
    rows: int
    digest: str | None
    member: str | None = None
    password: str | None = None


class Rows(Struct, frozen=True, kw_only=True):
    """The rows that were read, where from, and the digest they have."""

    rows: list[Row]
    digest: str
    origin: Literal["folder", "hub"]


def fetch(source: Source, accept_digest: str | None = None) -> Rows:
    """Read a split and check it. ``accept_digest`` admits one other digest, named in full by the user."""
    folder = data_folder()
    rows = _from_folder(source, folder) if folder else _from_hub(source)
    _check_columns(source, rows)
    digest = canonical_digest(rows, source.columns)
    if source.digest is not None and digest not in (source.digest, accept_digest):
        raise DataError(
            f"{source.name}: the rows are not the pinned ones: {len(rows)} rows, digest {digest}; "
            f"expected {source.rows} rows, digest {source.digest} (revision {source.revision[:12]}). "
            f"If you trust them: --accept-data {digest}"
        )
    return Rows(rows=rows, digest=digest, origin="folder" if folder else "hub")


def fetch_texts(source: Source, names: Sequence[str], accept_digest: str | None = None) -> dict[str, str]:
    """Texts by name: files ``NAME.txt`` of a folder, below a line of dashes that closes their head, or the hub's rows.

    ``source.columns`` are the hub's columns of name and text.
    """
    folder = data_folder()
    if folder:
        texts = {name: _read_text(source, folder / source.folder_file / f"{name}.txt") for name in names}
    else:
        name_column, text_column = source.columns
        texts = {row[name_column]: row[text_column] for row in _from_hub(source)}
    found = {name: texts[name].partition(HEAD_ENDS)[2].strip("\n") or texts[name].strip("\n") for name in sorted(texts)}
    digest = canonical_digest([{"name": name, "text": text} for name, text in found.items()], ("name", "text"))
    if digest not in (source.digest, accept_digest):
        raise DataError(
            f"{source.name}: the texts are not the pinned ones: {len(found)} with digest {digest}; expected "
            f"{source.rows} with digest {source.digest}. If you trust them: --accept-data {digest}"
        )
    return found


def _read_text(source: Source, path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise DataError(
            f"{source.name}: {path} cannot be read ({error.strerror}); it is part of the benchmark"
        ) from error


def data_folder() -> Path | None:
    """The folder that ``STEELYARD_DATA`` names, if it is set; it must exist."""
    value = os.environ.get("STEELYARD_DATA", "").strip()
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise DataError(f"STEELYARD_DATA names {value!r}, which is not a folder. Try: unset it to load from the hub")
    return folder


def optional_rows(folder_file: str) -> list[Row]:
    """Rows of a file that the folder may hold beside a benchmark, such as labels; none where there is no such file."""
    folder = data_folder()
    path = folder / folder_file if folder else None
    return read_json_lines(path) if path is not None and path.is_file() else []


def canonical_digest(rows: Sequence[Row], columns: tuple[str, ...]) -> str:
    """sha256 over the rows' canonical form; see ``Source``."""
    total = hashlib.sha256()
    for row in rows:
        line = json.dumps([row[column] for column in columns], ensure_ascii=False, separators=(",", ":"))
        total.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return total.hexdigest()


def read_json_lines(path: Path) -> list[Row]:
    """The rows of a JSON Lines file. Lines end at a line feed only: other separators may stand inside a string."""
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not JSON ({error})") from error
    return rows


def _from_folder(source: Source, folder: Path) -> list[Row]:
    path = folder / source.folder_file
    if not path.is_file():
        raise DataError(
            f"{source.name}: {source.folder_file} is missing in {folder} (named by STEELYARD_DATA). "
            "Try: the folder that holds it, or unset STEELYARD_DATA to load from the hub"
        )
    return read_json_lines(path) if source.member is None else _read_member(source, path)


def _read_member(source: Source, path: Path) -> list[Row]:
    """The rows of a CSV within an encrypted archive; nothing is written, and no fault quotes a row."""
    import zipfile

    assert source.member is not None
    try:
        with zipfile.ZipFile(path) as archive:
            content = archive.read(source.member, pwd=(source.password or "").encode())
    except (KeyError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{source.name}: {path} does not open as the authors' archive with {source.member} "
            f"({type(error).__name__}). Try: the file as its authors publish it"
        ) from error
    return _csv_rows(source, content)


def _csv_rows(source: Source, content: bytes) -> list[Row]:
    import csv

    try:
        return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{source.name}: not a CSV in UTF-8 ({type(error).__name__})") from None


def _from_hub(source: Source) -> list[Row]:
    path = download(source)
    if path.suffix == ".parquet":
        return read_parquet(path)
    return _csv_rows(source, path.read_bytes()) if path.suffix == ".csv" else read_json_lines(path)


def download(source: Source) -> Path:
    """The file of the source at its revision, from the hub or the cache."""
    try:
        from huggingface_hub import errors as hub
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise EnvironmentFault(
            f"{source.name} is loaded from the hub, which needs a package. Try: pip install 'steelyard[hub]', "
            "or set STEELYARD_DATA to a folder that holds it"
        ) from error
    where = f"{source.hub_id} ({source.hub_file}, revision {source.revision[:12]})"
    try:
        return Path(
            hf_hub_download(
                source.hub_id,
                source.hub_file,
                repo_type="dataset",
                revision=source.revision,
                cache_dir=cache_folder() / "hub",
                endpoint=os.environ.get("HF_ENDPOINT"),
            )
        )
    except hub.GatedRepoError as error:
        raise DataError(
            f"{source.name}: {where} is gated. Accept its terms on the hub, then set HF_TOKEN to that account's token"
        ) from error
    except (hub.RepositoryNotFoundError, hub.RevisionNotFoundError, hub.RemoteEntryNotFoundError) as error:
        raise DataError(f"{source.name}: the hub has no {where}") from error
    except (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled, OSError) as error:
        raise DataError(
            f"{source.name}: cannot reach the hub for {where}: {_first_line(error)}. "
            "Try: once with a connection, or set STEELYARD_DATA to a folder that holds it"
        ) from error


def read_parquet(path: Path) -> list[Row]:
    """Every row of a Parquet file, as Python values."""
    try:
        import duckdb
    except ImportError as error:
        raise EnvironmentFault("reading Parquet needs a package. Try: pip install 'steelyard[parquet]'") from error
    with duckdb.connect() as connection:
        cursor = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _check_columns(source: Source, rows: list[Row]) -> None:
    for position, row in enumerate(rows):
        if missing := [column for column in source.columns if row.get(column) is None]:
            raise DataError(f"{source.name}: row {position} has no {', '.join(missing)}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
