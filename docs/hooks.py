"""MkDocs hook: the command reference is what the commands themselves print with --help."""

import click

from attrinet.cli import cli

MARK = "<!-- every command -->"


def on_page_markdown(markdown: str, **_) -> str:
    return markdown.replace(MARK, "\n".join(chapters(cli, "attrinet", None))) if MARK in markdown else markdown


def chapters(command: click.Command, name: str, parent: click.Context | None) -> list[str]:
    """A heading and the help of a command, then those of the commands below it."""
    context = command.make_context(name, ["--"], parent=parent, resilient_parsing=True)
    context.max_content_width = 100
    level = 2 if parent is None or parent.parent is None else 3
    title = context.command_path
    lines = [f"{'#' * level} {title}", "", "```text", command.get_help(context), "```", ""]
    if isinstance(command, click.Group):
        for verb in command.list_commands(context):
            lines += chapters(command.get_command(context, verb), verb, context)
    return lines
