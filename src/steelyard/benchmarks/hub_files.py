"""A user's rows from the hub: one file, or the files of a config's split, always at a commit."""

from __future__ import annotations

import os
import re
from typing import Annotated

from msgspec import Meta, Struct

from steelyard.benchmarks.data import Source, download
from steelyard.benchmarks.rows import SUFFIXES, Parquet, RowFile, open_rows
from steelyard.errors import DataError, EnvironmentFault, UsageError, unended

SHARD = re.compile(r"-(\d{5})-of-(\d{5})(?=\.)")


class HubFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A data set on the hub. ``revision`` is a commit: what a branch holds may change. ``file``, or ``split``."""

    hub: Annotated[str, Meta(pattern=r"^[\w.-]+(/[\w.-]+)?$")]
    revision: Annotated[str, Meta(pattern=r"^[0-9a-f]{40}$")]
    file: str | None = None
    config: str | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        if (self.file is None) == (self.split is None):
            raise ValueError("hub data has either a 'file' or a 'split'")

    @property
    def label(self) -> str:
        """What tables call it."""
        where = self.file or "/".join(filter(None, (self.config, self.split)))
        return f"{self.hub}/{where}"


def open_hub(wanted: HubFile, separator: str | None = None) -> RowFile:
    """The rows, downloaded once and read from the cache afterwards."""
    files = [wanted.file] if wanted.file else _files_of_split(wanted)
    paths = [download(_source(wanted, file)) for file in files]
    if len(paths) == 1:
        return open_rows(paths[0], separator)
    return Parquet(*paths)


def _source(wanted: HubFile, file: str) -> Source:
    return Source(
        name=wanted.label,
        folder_file="",
        hub_id=wanted.hub,
        hub_file=file,
        revision=wanted.revision,
        split=wanted.split or "all",
        columns=(),
        rows=0,
        digest=None,
    )


def _files_of_split(wanted: HubFile) -> list[str]:
    """The files of a split by the hub's own naming: ``CONFIG/SPLIT.csv``, ``data/SPLIT-00000-of-00002.parquet``."""
    names = [name for name in _names(wanted) if name.endswith(SUFFIXES)]
    fitting = [name for name in names if _is_of(name, wanted)]
    by_stem: dict[str, list[str]] = {}
    for name in fitting:
        by_stem.setdefault(SHARD.sub("", name), []).append(name)
    if len(by_stem) != 1:
        shown = ", ".join(sorted(fitting or names)[:12]) or "no file of rows"
        what = "several files fit" if by_stem else "no file fits"
        raise UsageError(f"{wanted.label}: {what} this config and split: {shown}. Try: file: PATH")
    found = sorted(next(iter(by_stem.values())))
    if len(found) > 1 and not found[0].endswith(".parquet"):
        raise UsageError(
            f"{wanted.label}: the split is in {len(found)} files, which only Parquet may be. Try: file: PATH"
        )
    return found


def _is_of(name: str, wanted: HubFile) -> bool:
    *folders, last = SHARD.sub("", name).rsplit(".", 1)[0].split("/")
    is_split = last == wanted.split or (last.startswith(f"{wanted.split}-") and not folders[:-1])
    return is_split and (wanted.config is None or wanted.config in folders)


def _names(wanted: HubFile) -> list[str]:
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise EnvironmentFault(
            f"{wanted.label} is loaded from the hub, which needs a package. Try: pip install 'steelyard[hub]'"
        ) from error
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        return api.list_repo_files(wanted.hub, repo_type="dataset", revision=wanted.revision)
    except (HfHubHTTPError, OSError) as error:
        told = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise DataError(f"{wanted.label}: the hub does not list its files: {unended(told)}. Try: file: PATH") from error
