"""Image readers that misbehave, or tell of where they run. Apart, because the process that runs them imports this file
and nothing else."""


def hang(path):
    while True:
        pass


def crash(path):
    import os

    os.abort()


def tell_limits(path):
    """((soft, hard) of a core dump in bytes, of processor time in seconds), where an image would have its pixels."""
    import resource
    from types import SimpleNamespace

    import numpy as np

    limits = np.array([resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_CPU)])
    return SimpleNamespace(numpy=lambda: limits)
