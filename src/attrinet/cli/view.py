"""attrinet view"""

from __future__ import annotations

import socket
from pathlib import Path

import click

from attrinet.cli.run_folder import device_option, open_run, store_option
from attrinet.errors import AttrinetError

LOCAL = ("localhost", "127.0.0.1", "::1")


@click.command("view")
@click.argument("run", type=click.Path(path_type=Path))
@store_option
@click.option("--host", default="localhost", show_default=True, help="Name or address to listen on.")
@click.option("--name", "names", multiple=True, metavar="NAME", help="Another name it is reached by, as behind a "
              "reverse proxy. Repeatable.")
@click.option("--port", default=8765, show_default=True, help="0 for any that is free.")
@device_option
def command(run, store, host, names, port, device) -> None:
    """Look at a run in the browser: predictions, their evidence and arithmetic, what the model has learned, and other
    explainers beside it. Opened images stay in memory, seen by who opened them alone, until the session ends.

    \b
    Examples:
      attrinet view runs/nih_64
      attrinet view models/theirs --store stores/chexpert --port 9000
    """
    try:
        import uvicorn

        from attrinet.viewer.app import create_app
    except ModuleNotFoundError as error:
        raise AttrinetError(f"attrinet view needs {error.name}: pip install 'attrinet[viewer]'") from error
    opened = open_run(run, device)
    chosen, listening = opened.store_if_there(store, "without a store to pick from"), listen(host, port)
    app = create_app(opened, chosen, host=host, served=names)
    name = f"[{host}]" if ":" in host else host
    click.echo(f"{opened.model.name} of {run}: http://{name}:{listening.getsockname()[1]}/ (Ctrl-C stops)")
    if host not in LOCAL:
        click.echo("attrinet: whoever reaches this address can use the model and see the store's images; there is no "
                   "password and no encryption, so put it behind what has both", err=True)
    # no access log: it would keep who asked for what. The limit lets nobody hold all connections open. No log_config:
    # it closes the log handlers of other libraries, and one of them (absl's) closes what was standard error then
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", log_config=None, access_log=False,
                                           limit_concurrency=200, timeout_keep_alive=10, timeout_graceful_shutdown=2,
                                           server_header=False))
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        click.echo("stopped; nothing was kept")


def listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AttrinetError(f"--host {host} --port {port}: cannot listen there ({reason}); choose another") from error
