"""What is compiled on a GPU: only where it can be, and never against the user's word. No GPU is needed to say so."""

import importlib.util
import shutil

import pytest
import torch
from click.testing import CliRunner

from attrinet.cli import cli
from attrinet.export import bulk
from attrinet.folder import save_model
from attrinet.nets.attrinet import AttriNet
from attrinet.nets.compiled import compiles

GPU = torch.device("cuda", 0)


@pytest.fixture
def machine(monkeypatch):
    """machine(...): a computer with Triton, a GPU of this capability, and these programs."""

    def make(capability=(8, 0), programs=("gcc",), **environment):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in programs else None)
        monkeypatch.delenv("CC", raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return make


@pytest.mark.parametrize("capability, wanted", [((6, 1), False), ((7, 0), True), ((7, 5), True), ((12, 0), True)])
def test_networks_are_not_compiled_for_a_gpu_that_is_too_old_for_triton(machine, capability, wanted):
    machine(capability)
    assert compiles(GPU) is wanted


@pytest.mark.parametrize("programs, environment, wanted", [
    (("gcc",), {}, True), (("clang",), {}, True), ((), {}, False), (("icx",), {"CC": "icx"}, True),
    (("gcc",), {"CC": "gone"}, False),  # Triton takes CC at its word
])
def test_networks_are_not_compiled_without_a_c_compiler(machine, programs, environment, wanted):
    machine(programs=programs, **environment)
    assert compiles(GPU) is wanted


@pytest.mark.parametrize("choice, wanted", [("auto", 2), ("never", 0)])
def test_explain_store_compiles_unless_it_is_told_not_to(phantoms, tmp_path, monkeypatch, choice, wanted):
    calls = []
    monkeypatch.setattr(bulk, "compiles", lambda device: True)
    monkeypatch.setattr(bulk, "compile_in_place", lambda module, inference: calls.append(inference))
    save_model(AttriNet(phantoms.findings, phantoms.size, width=2), tmp_path / "model",
               thresholds=dict.fromkeys(phantoms.findings, 0.5), preprocessing=phantoms.preprocessing)
    done = CliRunner().invoke(cli, ["explain-store", str(tmp_path / "model"), "--store", str(phantoms.path), "--quiet",
                                    "--device", "cpu", "--out", str(tmp_path / "out"), "--compile", choice])
    assert done.exit_code == 0, done.output
    assert len(calls) == wanted
