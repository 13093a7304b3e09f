"""The command line: one file a verb, imported only when called, so that --help is instant."""

from __future__ import annotations

import importlib
import sys
import warnings

import click

from attrinet.errors import AttrinetError, Stopped

VERBS = {
    "demo": "the whole story on phantom radiographs: train, evaluate, explain, report",
    "datasets": "which datasets can be prepared, and where they come from",
    "prepare": "read a dataset once into a store that trains fast",
    "train": "train a model from a configuration",
    "evaluate": "judge a trained model: AUC, thresholds, sensitivities, intervals",
    "train-autoencoder": "train what Gifsplanation sees images through",
    "explain": "predict images and draw the evidence",
    "compare": "make the paper's tables and figures from evaluated runs",
    "explain-store": "predict and explain every image of a store, in shards",
    "global": "draw class centres and classifier weights",
    "report": "write the self-contained HTML report of a run",
    "export": "write a model for another runtime: ONNX, OpenVINO",
    "view": "look at predictions and their evidence in the browser",
    "import": "import a checkpoint folder of the authors' code",
}


class Verbs(click.Group):
    """Finds `attrinet.cli.VERB` when VERB is called."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stopped:
            raise Stopped("stopped; what was written is whole, and the same command can be given again") from stopped
        except OSError as error:  # a path no verb looked at more closely: too long, not permitted, gone meanwhile
            if error.filename is None:
                raise
            raise AttrinetError(f"{error.filename}: {error.strerror}") from error

    def list_commands(self, ctx):
        return list(VERBS)

    def get_command(self, ctx, name):
        if name not in VERBS:
            return None
        module = name + "_" if name in ("global", "import") else name.replace("-", "_")
        return importlib.import_module(f"attrinet.cli.{module}").command

    def format_commands(self, ctx, formatter):
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="attrinet")
def cli() -> None:
    """Multi-label image classification whose explanation is its decision.

    \b
    Examples:
      attrinet demo
      attrinet prepare table --labels labels.csv --images png/ --out stores/mine
      attrinet train configs/nih_64.yaml schedule.steps=20000
      attrinet evaluate runs/nih_64
      attrinet explain runs/nih_64 study.dcm
    """


def said_plainly(message, category, *rest) -> None:
    """A warning as one line, without the code it comes from."""
    click.echo(f"attrinet: {message}" if category is UserWarning else f"{category.__name__}: {message}", err=True)


def main() -> None:
    """Entry point. Exit code 0: done; 2: bad input, in one line; 130: stopped on request."""
    warnings.showwarning = said_plainly
    try:
        cli()
    except Stopped as stopped:
        click.echo(f"attrinet: {stopped}", err=True)
        sys.exit(130)
    except AttrinetError as error:
        click.echo(f"attrinet: {error}", err=True)
        sys.exit(2)
