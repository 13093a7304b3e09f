"""Model folders with a model card, in the manner of the Hugging Face Hub, and offline unless told otherwise."""

from __future__ import annotations

from pathlib import Path

import torch

from attrinet.baselines.baseline import Baseline
from attrinet.data.store import Store
from attrinet.errors import AttrinetError, said
from attrinet.facts import gather
from attrinet.files import cannot_write
from attrinet.folder import load, save_model
from attrinet.model_card import markdown
from attrinet.nets.attrinet import AttriNet
from attrinet.nets.weights import uncompiled

FILES = ["config.json", "model.safetensors", "thresholds.json", "README.md"]


def save_pretrained(
    model: AttriNet | Baseline, folder: str | Path, *, run: str | Path | None = None,
    store: str | Path | Store | None = None, preprocessing: dict | None = None, title: str | None = None,
) -> Path:
    """Write a folder that from_pretrained reads and the Hub shows: weights, config, thresholds, and a README.md.

    run: run folder the card tells about (training, and evaluation where there is one). store: the data, for the card's
    counts. preprocessing: intensity and keep_aspect as given to `prepare`; left out, those a loaded model has.
    title: of the card; the folder's name if left out. Returns the folder. Nothing is uploaded.
    """
    folder, model = Path(folder), uncompiled(model)
    if preprocessing is None:
        if model.reader is None:
            raise AttrinetError(f"{folder}: this model was not loaded from a folder; say how its images were prepared, "
                                "preprocessing={'intensity': 'paper', 'keep_aspect': False}")
        preprocessing = {name: model.reader.keywords[name] for name in ("intensity", "keep_aspect")}
    data = Store.open(store) if isinstance(store, (str, Path)) else store
    card = markdown(gather(model, title or folder.name, run=run, store=data))
    thresholds = dict(zip(model.findings, model.thresholds.tolist(), strict=True))
    try:
        save_model(model, folder, thresholds=thresholds, preprocessing=preprocessing,
                   thresholds_from=model.thresholds_from)
        (folder / "README.md").write_text(card)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return folder


def from_pretrained(
    name: str | Path, *, offline: bool = True, revision: str | None = None, device: str | torch.device = "cpu"
) -> AttriNet | Baseline:
    """The model of a folder; with offline=False also of a repository of the Hugging Face Hub ("owner/model").

    revision: branch, tag or commit of the repository. Raises AttrinetError where there is no such folder and the
    network was not allowed, where huggingface_hub is not installed, or where the download fails.
    """
    if Path(name).is_dir():
        return load(name, device)
    if offline:
        raise AttrinetError(f"{name}: no such folder; from_pretrained looks nowhere else unless it is called with "
                            "offline=False, which fetches that repository from the Hugging Face Hub")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise AttrinetError(f"{name}: fetching needs huggingface_hub; pip install 'attrinet[hub]'") from error
    try:
        folder = snapshot_download(str(name), revision=revision, allow_patterns=FILES)
    except Exception as error:  # the library's own, the network's, the file system's
        raise AttrinetError(f"{name}: not fetched from the Hugging Face Hub ({said(error)})") from error
    return load(folder, device)
