"""What the verbs that read a run share: its model, configuration and store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from attrinet.baselines.baseline import Baseline
from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.evaluation.predictions import fitting
from attrinet.facts import read_json
from attrinet.folder import load, usable_device
from attrinet.nets.attrinet import AttriNet
from attrinet.protocols import Explainer
from attrinet.train.config import Config, load_config

device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …")
store_option = click.option("--store", type=click.Path(path_type=Path), help="Store; the run's own if left out.")


def home(run: Path) -> Path:
    """The folder that a run's results belong into, also where its RUN/best was named."""
    return run.parent if run.name == "best" else run


def make_folder(folder: Path) -> None:
    """For what a verb writes. Raises AttrinetError where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AttrinetError(f"{folder}: cannot be made ({error.strerror}); choose another with --out") from error


@dataclass(frozen=True)
class Run:
    """A run folder (config: how it was trained), or a model folder alone (config: None)."""

    path: Path
    model: AttriNet | Baseline
    config: Config | None

    @property
    def explainer(self) -> Explainer | None:
        """The model's own explanation; None for one that has none."""
        return self.model if isinstance(self.model, Explainer) else None

    def require_attrinet(self, verb: str) -> None:
        """Raise AttrinetError where only Attri-Net has what a verb shows."""
        if not isinstance(self.model, AttriNet):
            raise AttrinetError(f"{self.path}: holds a {self.model.name}; attrinet {verb} shows an Attri-Net's class "
                                "centres. attrinet evaluate works on every model")

    def store(self, given: Path | None) -> Store:
        """The store named by --store, or the one the run was trained on. Raises AttrinetError if there is none, if its
        images were not prepared like the model's, and if the run's own is another by now than it was trained on."""
        if given is None and self.config is None:
            raise AttrinetError(f"{self.path}: a model folder names no store; add --store")
        try:
            store = Store.open(given or self.config.data.store)
        except AttrinetError as error:
            raise error if given else AttrinetError(f"{error}; or name where it is now by --store") from error
        chosen = fitting(store, self.model)
        self.require_prepared_alike(store)
        if given is None:
            self.require_trained_on(store)
        return chosen

    def require_prepared_alike(self, store: Store) -> None:
        """Raise AttrinetError for a store whose images were mapped to grey or to a square as the model's were not."""
        there = store.preprocessing
        want = {name: self.model.reader.keywords[name] for name in there}
        if there != want:
            found, options = (f"with --intensity {each['intensity']} {'and' if each['keep_aspect'] else 'without'} "
                              "--keep-aspect" for each in (there, want))
            raise AttrinetError(f"{store.path}: was prepared {found}, the model's images {options}; prepare a store "
                                f"{options}")

    def require_trained_on(self, store: Store) -> None:
        """Raise AttrinetError where the run's own store is no longer what it was: its training patients may be the
        store's test patients now. Runs of earlier versions do not say what they were trained on."""
        data = read_json(self.path, "best/training.json").get("data")
        if data not in (None, store.identity):
            raise AttrinetError(f"{store.path}: is not the store that {self.path} was trained on: its images, labels, "
                                "annotations or splits are others; name that one, or the one to use, with --store")

    def store_if_there(self, given: Path | None, without: str = "") -> Store | None:
        """The store named by --store, which must open; or the run's own, which may be gone: then None, and where
        `without` says what is missing without it, that and the reason are printed."""
        try:
            return self.store(given)
        except AttrinetError as error:
            if given is not None:
                raise
            if without:
                click.echo(f"attrinet: {without}: {error}", err=True)
            return None


def open_run(path: Path, device: str = "auto") -> Run:
    """The best model of a run folder, or of a model folder."""
    where = usable_device(device)
    config = load_config(path / "config.yaml") if (path / "config.yaml").exists() else None
    return Run(path, load(path, where), config)
