"""The whole story on phantom radiographs: prepare, train, evaluate, explain, report."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from attrinet.cli.evaluate import run_evaluation, summary
from attrinet.cli.global_ import write_global
from attrinet.cli.report import write_report
from attrinet.cli.run_folder import Run, open_run
from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.data.store import Store
from attrinet.report.figures import explanation_figure, png
from attrinet.train.config import load_config
from attrinet.train.loop import train

PHANTOMS, SIZE = 3000, 64
SHOWN = 6  # held-out phantoms explained as PNG
AUC_GOAL, ENRICHMENT_GOAL = 0.90, 3.0


def demo(
    out: Path, *, seed: int = 0, phantoms: int = PHANTOMS, overrides: tuple[str, ...] = (), workers: int = 2,
    progress: bool = True, say: Callable[[str], None] = print,
) -> dict:
    """Run the demo into `out` and return the metrics of the held-out phantoms. Run again, it goes on where it was."""
    started = time.monotonic()

    def step(text: str) -> None:
        say(f"[{time.monotonic() - started:5.0f} s] {text}")

    step(f"drawing {phantoms} phantom radiographs of {SIZE}×{SIZE} pixels, seed {seed}")
    store = prepare(phantom_source(phantoms, SIZE, seed), out / "store", SIZE, workers=workers, progress=progress)
    config = load_config(config_file(), (f"data.store={out / 'store'}", f"run.seed={seed}", *overrides))
    step(f"training a small Attri-Net, {config.schedule.steps} steps (Ctrl-C stops, the same command goes on)")
    train(config, out, resume=True, progress=progress)
    run = open_run(out)
    step("evaluating on the held-out phantoms")
    metrics = run_evaluation(run, store.select(run.model.findings), "test", (), out / "evaluation", progress=progress)
    step("drawing explanations and the report")
    draw(run, store, out)
    report = write_report(run, store, out / "evaluation", out / "report.html")
    say(summary(metrics))
    enrichment = metrics["disease_sensitivity"]["true_positives"].get("mean", {}).get("enrichment", {}).get("value")
    say(f"mean AUC {metrics['auc']['mean']['value']:.3f} (goal: at least {AUC_GOAL:.2f})")
    say(f"evidence of true positives: {enrichment or 0:.1f} times denser in the known lesion than by chance "
        f"(goal: at least {ENRICHMENT_GOAL:.0f})")
    step(f"done; open {report}")
    return metrics


def config_file() -> Path:
    """configs/demo.yaml, in an installed package or in a source checkout."""
    installed = Path(str(resources.files("attrinet"))) / "configs" / "demo.yaml"
    return installed if installed.exists() else Path(__file__).resolve().parents[2] / "configs" / "demo.yaml"


def draw(run: Run, store: Store, out: Path) -> None:
    """explanations/<id>.png of the first held-out phantoms with a finding, and the global explanation."""
    (out / "explanations").mkdir(exist_ok=True)
    write_global(run, store, out / "global")
    store = store.select(run.model.findings)
    for row in [r for r in store.split("test") if (store.labels[r] == 1).any()][:SHOWN]:
        image = store.batch([row])
        masks = {c: m for c in range(len(store.findings)) if (m := store.mask(row, c)) is not None}
        fig = explanation_figure(image[0, 0].numpy(), run.model.explain(image), 0, range(len(store.findings)), masks)
        (out / "explanations" / f"{store.ids[row]}.png").write_bytes(png(fig))
