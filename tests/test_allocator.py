"""A program that keeps its freed memory does not have the kernel zero it again for every step."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch
from attrinet.allocator import give_back_freed_memory, keep_freed_memory
{call}()
def work(turns):
    for _ in range(turns):
        x = torch.empty(2**24).fill_(1)  # 64 MB, freed at the next turn
work(60)  # the heap settles: small blocks fall into freed large ones, for up to 20 turns as seen
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work(10)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(call):
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(call=call)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_large_tensors_reuse_memory_that_is_free():
    given_back = faults("give_back_freed_memory")
    if given_back < 1000:
        pytest.skip("this C library, or huge pages, keep memory anyway")
    assert faults("keep_freed_memory") < given_back / 10
