"""Worker processes hear nothing of Ctrl-C, end at once with what started them, and say nothing of it."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from attrinet.processes import deaf_to_ctrl_c
from waiting import until

MAIN = """
import os, sys, time
from attrinet.processes import pool

def write(path):
    open(path, "w").write(str(os.getpid()))

if __name__ == "__main__":
    try:
        with pool(2, write, (sys.argv[1] + "/started",)) as processes:
            futures = [processes.submit(time.sleep, 600) for _ in range(4)]
            open(sys.argv[1] + "/submitted", "w").close()
            futures[0].result()
    except KeyboardInterrupt:
        sys.exit(130)
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def main(tmp_path):
    """A process that works with two others, in a group as a terminal makes it."""
    (tmp_path / "main.py").write_text(MAIN)
    with subprocess.Popen([sys.executable, tmp_path / "main.py", tmp_path], stderr=subprocess.PIPE, text=True,
                          start_new_session=True) as process:
        yield process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("delay", [0, 0.05, 0.2, 0.5])
def test_ctrl_c_while_the_workers_start_is_silent(main, tmp_path, delay):
    until(lambda: (tmp_path / "submitted").exists(), "the tasks to be given to the workers")
    time.sleep(delay)
    os.killpg(main.pid, signal.SIGINT)
    said = main.communicate(timeout=60)[1]
    assert main.returncode == 130 and said == ""


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_the_workers_end_with_the_process_that_started_them_in_the_middle_of_a_task(main, tmp_path, ending, code):
    started = tmp_path / "started"
    until(lambda: started.exists() and started.read_text(), "a worker to have started")
    worker = int(started.read_text())
    main.send_signal(ending)
    assert main.wait(60) == code
    until(lambda: not alive(worker), "the worker to end")


@pytest.mark.parametrize("thread", [False, True])
def test_ctrl_c_while_a_process_is_being_started_comes_when_it_has_been(thread):
    """Also through a thread whose mask lets it in: the interpreter hands it to the main thread."""
    press = partial(signal.raise_signal, signal.SIGINT)
    reached = False
    with pytest.raises(KeyboardInterrupt), deaf_to_ctrl_c():
        if thread:
            pressing = threading.Thread(target=open_and_press, args=(press,))
            pressing.start()
            pressing.join()
        else:
            press()
        time.sleep(0.05)
        reached = True
    assert reached and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def open_and_press(press):
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    press()
