"""The main job with the real model: the starter set and the two benchmarks, from the command line to the table."""

import json

import pytest

from command import ok

pytestmark = pytest.mark.model


@pytest.mark.long
def test_the_local_model_knows_more_than_chance():
    """61 % on all 176; on 24 of them its interval still lies above a quarter."""
    out = ok("run", "starter@cloze", "-m", "local/smollm2-135m", "-m", "baseline/random", "--limit", "24", "--json")
    model, floor = json.loads(out)["cells"]
    assert model["estimates"]["accuracy"]["low"] > 0.25
    assert model["estimates"]["api_calls"]["value"] == model["estimates"]["answered"]["value"] == 24  # none asked twice
    assert model["estimates"]["model_peak_rss_mb"]["value"] > 100
    assert model["estimates"]["model_cpu"]["value"] > 0.1
    assert model["estimates"]["latency.p50"]["value"] is None
    assert floor["is_floor"]
    assert model["origin"].startswith("llama.cpp xllamacpp/")


@pytest.mark.long
@pytest.mark.data
def test_gsm8k_and_mmlu_run_on_the_local_model(data_folder):
    out = ok(
        "run", "gsm8k", "mmlu@cloze", "-m", "local/smollm2-135m", "--limit", "1", "--max-tokens", "12", "--json",
        env={"STEELYARD_DATA": str(data_folder)},
    )  # fmt: skip
    gsm8k, mmlu = json.loads(out)["cells"]
    assert gsm8k["estimates"]["answered"]["value"] == 1
    assert gsm8k["estimates"]["ttft.p50"]["n"] == 1
    assert gsm8k["estimates"]["output_tokens"]["value"] == 12
    assert "accuracy.strict" in gsm8k["estimates"]
    assert mmlu["estimates"]["scored"]["value"] == 1
    assert "accuracy.norm" in mmlu["estimates"]
