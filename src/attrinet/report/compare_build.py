"""The folder that `attrinet compare` writes: tables, figures, comparisons, index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.model_card import escaped
from attrinet.report.compare_drawing import save
from attrinet.report.compare_figures import FIGURES, ON_SHORTCUT
from attrinet.report.compare_index import Made, index
from attrinet.report.compare_pairs import write_comparisons
from attrinet.report.compare_runs import Judged, Method, Test, methods_by_test
from attrinet.report.compare_scene import Scene
from attrinet.report.compare_tables import Table, tables
from attrinet.report.compare_write import markdown, write_csv
from attrinet.report.published import ADAPTERS, DATASETS

NEEDED = ("needs runs of these, evaluated on the same images; post-hoc explanations by attrinet evaluate RUN "
          "--explainer NAME, of a ResNet50's run")


class Source(Protocol):
    """Where figures get models, stores and guidance masks from; each raises AttrinetError where it cannot."""

    def load(self, one: Judged) -> tuple: ...

    def store(self, one: Judged) -> Store: ...

    def masks(self, one: Judged, store: Store, mode: str) -> np.ndarray: ...


def build_comparison(
    out: Path, evaluations: Sequence[Judged], *, dataset: str | None, source: Source, progress: bool = False
) -> Made:
    """Write tables/, figures/, comparisons.csv and index.md of the evaluations to `out`; returns what index.md lists.

    dataset: the paper's dataset that all of them are of, or None. Raises AttrinetError for a store that is of another
    dataset, and for two runs of one method with the same seed.
    """
    parts = methods_by_test(evaluations)
    names = test_names(parts)
    made, stores = Made(), open_stores(parts, source)
    check_dataset(dataset, stores)
    cited = {test: None if planted(store) or test.split != "test" or test.where else dataset
             for test, store in stores.items()}
    try:
        for name in ("tables", "figures"):
            (out / name).mkdir(parents=True, exist_ok=True)
        written = write_tables(out / "tables", parts, names, cited)
        lines = write_comparisons(out / "comparisons.csv", [(names[t], m) for t, m in parts.items()], progress)
        made.missing += tables_missing(written)
        make_figures(out / "figures", parts, names, stores, source, dataset, made, progress)
        sizes = {test: store.size if isinstance(store, Store) else None for test, store in stores.items()}
        own_split = [names[test] for test, store in stores.items() if not official(store)]
        page = index(names, parts, written, made, dataset, sizes, lines, own_split)
        (out / "index.md").write_text(page)
    except OSError as error:
        raise AttrinetError(f"{out}: cannot be written ({error.strerror})") from error
    return made


def test_names(parts: Mapping[Test, Sequence[Method]]) -> dict[Test, str]:
    """Test set → store's folder and split, and checksums of images and truth where two would be called the same."""
    names = {}
    for test, methods in parts.items():
        plain = " ".join([Path(methods[0].first.metrics["store"]).name, test.split, *test.where])
        images = f"{plain} {test.checksum[:8]}"
        names[test] = (plain, images, f"{images} {(test.truth or 'unknown')[:8]}")
    again = Counter(name for each in names.values() for name in each)
    return {test: next((name for name in each if again[name] == 1), each[-1]) for test, each in names.items()}


def open_stores(parts: Mapping[Test, Sequence[Method]], source: Source) -> dict[Test, Store | AttrinetError]:
    """Test set → its store, or why it could not be opened: tables need none."""
    out: dict[Test, Store | AttrinetError] = {}
    for test, methods in parts.items():
        for one in (one for m in methods for one in m.seeds):
            try:
                out[test] = source.store(one)
                break
            except AttrinetError as error:
                out[test] = error
    return out


def check_dataset(dataset: str | None, stores: Mapping[Test, Store | AttrinetError]) -> None:
    """Published numbers beside phantoms, or another dataset's, would compare what cannot be compared."""
    for store in stores.values():
        adapter = origin(store)
        if dataset and adapter not in (None, ADAPTERS[dataset], "table"):
            raise AttrinetError(f"{store.path}: holds images of {adapter!r}, not of {DATASETS[dataset]}; leave out "
                                "--dataset, or compare the runs on it by themselves")


def planted(store: Store | AttrinetError) -> bool:
    """Whether a tag was drawn into its images: the paper has a figure of such models and no table."""
    return isinstance(store, Store) and store.meta["adapter"] == "shortcut"


def official(store: Store | AttrinetError) -> bool:
    """Whether its test images are the dataset's own, as far as the store knows."""
    options = store.meta.get("options", {}) if isinstance(store, Store) else {}
    split = options.get("split")
    return not options.get("box_train") and not (isinstance(split, dict) and isinstance(split.get("test"), dict))


def origin(store: Store | AttrinetError) -> str | None:
    """The adapter that read the images, also where a tag was drawn into them later; None where it is not known."""
    if not planted(store):
        return store.meta["adapter"] if isinstance(store, Store) else None
    try:
        return Store.open(store.meta["options"]["store"]).meta["adapter"]
    except AttrinetError:
        return None


def write_tables(
    folder: Path, parts: Mapping[Test, Sequence[Method]], names: Mapping[Test, str], cited: Mapping[Test, str | None]
) -> list[Table]:
    """tableN.csv and tableN.md, a section a test set; returns the tables of all test sets. cited: the dataset whose
    published numbers stand beside those of a test set."""
    found = [(test, table) for test, methods in parts.items() for table in tables(methods, cited[test])]
    for number in sorted({table.number for _, table in found}):
        own = [(test, table) for test, table in found if table.number == number]
        write_csv(folder / f"table{number}.csv", [(names[test], table) for test, table in own], any(cited.values()))
        text = [f"# Table {number}. {own[0][1].title}", ""]
        for test, table in own:
            text += [f"## {escaped(names[test])}", "", markdown(table, cited[test]), ""]
        (folder / f"table{number}.md").write_text("\n".join(text))
    return [table for _, table in found]


def tables_missing(found: Sequence[Table]) -> list[tuple[str, str]]:
    """Rows of the paper's tables that no test set has a run for."""
    out = []
    for number in sorted({t.number for t in found}):
        own = [t for t in found if t.number == number]
        rows = [name for name in own[0].missing if all(name in t.missing for t in own)]
        if rows:
            out.append((f"Table {number}, rows {', '.join(rows)}", NEEDED))
    return out


def make_figures(
    folder: Path, parts, names, stores, source: Source, dataset: str | None, made: Made, progress: bool
) -> None:
    """Every figure of every test set that can make it; the reasons where none can."""
    bar = tqdm(FIGURES.items(), unit="figure", disable=not progress, dynamic_ncols=True)
    for number, (title, figure) in bar:
        bar.set_description(f"drawing Figure {number}")  # minutes, where a dear explainer was judged
        done, reasons = [], {}
        for test, methods in parts.items():
            store = stores[test]
            try:
                if isinstance(store, AttrinetError):
                    raise store
                if planted(store) and number not in ON_SHORTCUT:
                    continue
                scene = Scene(methods, store, source.load, source.masks, dataset if origin(store) else None)
                done.append((names[test], *figure(scene)))
            except AttrinetError as error:
                reasons.setdefault(str(error), names[test])
        for name, fig, caption in done:
            stem = f"figure{number}" + (f"-{name.replace(' ', '-')}" if len(done) > 1 else "")
            made.figures.append((number, title, name, save(fig, folder, stem), caption))
        if not done:
            why = "; ".join(reasons) or "needs runs on a store without a planted tag"
            made.missing.append((f"Figure {number}, {title}", why))
