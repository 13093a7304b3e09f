"""attrinet view as a user starts and stops it."""

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request

import pytest
import uvicorn
from click.testing import CliRunner
from starlette.testclient import TestClient

from attrinet.cli.view import command, listen
from attrinet.errors import AttrinetError


def test_it_serves_on_localhost_says_where_and_leaves_nothing_when_stopped(viewed, tmp_path):
    run, store = viewed
    server = subprocess.Popen(
        [sys.executable, "-m", "attrinet", "view", run.path, "--store", store.path, "--port", "0", "--device", "cpu"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
    )
    try:
        address = server.stdout.readline().split(": ")[1].split()[0]
        assert address.startswith("http://localhost:")
        page = urllib.request.urlopen(address, timeout=120).read().decode()
        assert "<title>attrinet viewer</title>" in page
        assert [p.name for p in tmp_path.glob("attrinet-view-*")]
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=60)
    finally:
        server.kill()
        server.wait()
    assert server.returncode == 0 and "nothing was kept" in out and "Traceback" not in err
    assert not list(tmp_path.glob("attrinet-view-*"))


def test_it_answers_under_the_names_of_its_options(viewed, monkeypatch):
    run, store = viewed
    answers = {}

    def ask(server, sockets):
        app = server.config.app
        for host in ("radiology.example:8765", "viewer.example", "evil.example"):
            answers[host] = TestClient(app).get("/", headers={"Host": host}).status_code
        app.state.viewer.close()
        sockets[0].close()

    monkeypatch.setattr("attrinet.cli.view.listen", lambda host, port: listen("localhost", 0))
    monkeypatch.setattr(uvicorn.Server, "run", ask)
    arguments = [str(run.path), "--store", str(store.path), "--host", "radiology.example",
                 "--name", "viewer.example", "--device", "cpu"]
    CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert answers == {"radiology.example:8765": 200, "viewer.example": 200, "evil.example": 403}


def test_log_handlers_of_other_libraries_stay_open(viewed, monkeypatch):
    run, store = viewed
    handler = logging.StreamHandler()
    monkeypatch.setattr(handler, "close", lambda: pytest.fail("closed"))
    monkeypatch.setattr("attrinet.cli.view.listen", lambda host, port: listen("localhost", 0))
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, sockets: (server.config.app.state.viewer.close(),
                                                                        sockets[0].close()))
    CliRunner().invoke(command, [str(run.path), "--store", str(store.path), "--device", "cpu"], catch_exceptions=False)


def test_a_port_in_use_and_a_store_that_is_not_there_are_said_in_one_line(viewed, tmp_path, monkeypatch):
    run, store = viewed
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with socket.create_server(("localhost", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, message in [
            (["--store", str(store.path), "--port", port], f"--port {port}: cannot listen there"),
            (["--store", str(tmp_path / "no")], "no store found"),
            (["--host", "no.such.name.invalid"], "--host no.such.name.invalid"),
        ]:
            with pytest.raises(AttrinetError, match=message) as failure:
                CliRunner().invoke(command, [str(run.path), *arguments], catch_exceptions=False)
            assert "\n" not in str(failure.value)
    assert not list(tmp_path.iterdir())
