"""attrinet datasets"""

from __future__ import annotations

import click

from attrinet.data.catalog import CATALOG


@click.command("datasets")
def command() -> None:
    """List what `attrinet prepare` reads, where it comes from and under which terms. Downloads nothing."""
    for entry in CATALOG:
        click.echo(f"{entry.adapter:<14}{entry.title}")
        for label, text in (("from", entry.source), ("terms", entry.terms), ("needs", entry.needs)):
            click.echo(f"{'':<14}{label}: {text}")
        click.echo(f"{'':<14}attrinet prepare {entry.adapter} {entry.example}\n")
