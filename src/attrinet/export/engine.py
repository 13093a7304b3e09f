"""An exported model as the engine of the PyTorch one: it makes the maps, and the maps are the decision as ever."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from attrinet.errors import AttrinetError, said
from attrinet.export.verify import PRECISIONS
from attrinet.files import checksum
from attrinet.nets.attrinet import AttriNet
from attrinet.nets.weights import weights_hash

FILES = ("model.xml", "model.bin")


def use_engine(model: AttriNet, folder: Path) -> str:
    """Let OpenVINO files make the maps of model.explain, logits and attribution_maps; returns their precision.

    folder: of `attrinet export --format openvino`. Logits are still the float64 sum of the maps and the classifiers are
    PyTorch's, so bias + sum of the contributions is the logit in every precision. One finding alone (attribute,
    finding_logits) is still made by PyTorch.
    Raises AttrinetError for a folder without such files or of other weights, a model that is not on the CPU, and where
    OpenVINO is not installed.
    """
    if model.device.type != "cpu":
        raise AttrinetError(f"{folder}: OpenVINO runs on the CPU, the model is on {model.device}; add --device cpu")
    path, facts = folder / "model.xml", facts_of(folder)
    if facts["weights"] != weights_hash(model):
        raise AttrinetError(f"{folder}: exported from a model of other weights; export this one again")
    try:
        from attrinet.export.openvino import OpenVinoMaps
    except ModuleNotFoundError as error:
        raise AttrinetError(f"{folder}: needs {error.name}, which is not installed: pip install 'attrinet[export]'"
                            ) from error
    try:
        model.engine = OpenVinoMaps(path, facts["precision"])
    except RuntimeError as error:
        raise AttrinetError(f"{path}: OpenVINO cannot read it ({said(error)}); export it again"
                            ) from error
    return facts["precision"]


def own_engine(model: AttriNet, folder: Path) -> Path | None:
    """`folder`, if it holds OpenVINO files of this very model that can be used here; else None."""
    try:
        same = facts_of(folder)["weights"] == weights_hash(model)
    except AttrinetError:
        return None
    return folder if same and model.device.type == "cpu" and find_spec("openvino") else None


def engine_hash(folder: Path) -> str:
    """Precision and checksums of the files."""
    facts = facts_of(folder)
    return " ".join([facts["precision"], *(facts["files"][name] for name in FILES)])


def facts_of(folder: Path) -> dict:
    """precision, files and weights of an OpenVINO export, of its model.json. Raises AttrinetError where there is none
    and where a file is not the one it tells of."""
    path = folder / "model.json"
    try:
        facts = json.loads(path.read_text())
        own = facts["formats"]["openvino"] | {"weights": facts["weights"]}
        whole = own["precision"] in PRECISIONS and isinstance(own["weights"], str) and set(own["files"]) == set(FILES)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AttrinetError(f"{path}: not of attrinet export --format openvino ({error!r})") from error
    if not whole or not all((folder / name).exists() for name in FILES):
        raise AttrinetError(f"{folder}: holds no {' and '.join(FILES)}; make them by attrinet export --format openvino")
    for name in FILES:
        if checksum(folder / name) != own["files"][name]:
            raise AttrinetError(f"{folder / name}: is not the file that model.json tells of; make it again by attrinet "
                                "export --format openvino")
    return own
