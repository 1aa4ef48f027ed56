"""The precision of training: amp in train.yaml."""

from __future__ import annotations

import csv
import logging

import monai.bundle
import pytest
import torch
from monai.inferers import SimpleInferer
from running import CONFIGS, QUICK

from dpsau2net_monai import bundle, inferers
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.inferers import BFloat16Inferer
from dpsau2net_monai.networks import DPSAU2NetLite


def messages(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("training in ")]


@pytest.mark.parametrize(
    ("supported", "flags", "expected"),
    [
        (True, {"avx512_bf16": True}, True),
        (True, {"amx_bf16": True, "avx512_bf16": False}, True),
        (True, {"bf16": True}, True),
        (True, {"avx512_f": True, "avx512_bf16": False}, False),  # emulated
        (False, {"avx512_bf16": True}, False),
    ],
)
def test_auto_takes_bfloat16_where_the_cpu_has_it(supported, flags, expected, monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    assert bundle.uses_amp("auto", "cpu") is expected
    assert bundle.uses_amp("auto", "cuda") is True
    assert bundle.uses_amp("true", "cpu") is True and bundle.uses_amp("false", "cuda") is False


def test_another_word_than_auto_is_refused():
    with pytest.raises(InputError, match="amp is 'half'; it must be true or false, or auto"):
        bundle.uses_amp("half", "cpu")


def test_auto_takes_float32_for_small_crops_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(bundle, "has_bfloat16", lambda: True)
    caplog.set_level(logging.INFO)
    network, x = DPSAU2NetLite(3, 1, 2).train(), torch.rand(2, 1, 32, 32, 32)
    expected = DPSAU2NetLite(3, 1, 2)
    expected.load_state_dict(network.state_dict())
    inferer = bundle.training_inferer("auto", "cpu")
    for _ in range(2):
        torch.testing.assert_close(inferer(x, network), SimpleInferer()(x, expected), rtol=0, atol=0)
    # the look at the maps leaves the running statistics as they are
    assert all(torch.equal(expected.state_dict()[name], tensor) for name, tensor in network.state_dict().items())
    (message,) = messages(caplog)
    assert message.startswith("training in float32; a crop of 32 x 32 x 32 is too small for bfloat16")
    inferer(torch.rand(1, 1, 3, 3, 3), torch.nn.Conv3d(1, 1, 3))
    assert messages(caplog)[1:] == ["training in bfloat16"]


def test_a_cpu_without_bfloat16_continues_a_run_of_one_with_it(dataset, tmp_path, monkeypatch, capfd):
    keys = {**QUICK, "dataset_dir": str(dataset), "ckpt_dir": str(tmp_path / "models")}
    keys |= {"output_dir": str(tmp_path / "log"), "instances": "false", "checkpointing": "true"}
    autocasts = []
    infer = inferers.BFloat16Inferer.__call__
    monkeypatch.setattr(BFloat16Inferer, "__call__", lambda *args: autocasts.append(infer(*args)) or autocasts[-1])
    for has, epochs in ((True, 1), (False, 2)):
        monkeypatch.setattr(bundle, "has_bfloat16", lambda has=has: has)
        keys |= {"max_epochs": epochs, "resume": str(not has)}
        monai.bundle.run("training", config_file=str(CONFIGS / "train.yaml"), **keys)
        state = torch.load(tmp_path / "models" / f"state-{epochs:05d}.pt", weights_only=True)
        optimizer = [value for one in state["optimizer"]["state"].values() for value in one.values()]
        tensors = [*state["model"].values(), *state["average"].values(), *optimizer]
        assert {one.dtype for one in tensors if one.is_floating_point()} == {torch.float32}
    assert len(autocasts) == 3  # of the first epoch alone
    said = [line.partition("INFO - training in ")[2] for line in capfd.readouterr().out.splitlines()]
    assert list(filter(None, said)) == ["bfloat16", "float32"]
    rows = list(csv.DictReader((tmp_path / "models" / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["1.0", "2.0"]
