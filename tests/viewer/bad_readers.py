"""Image readers that misbehave, or tell of where they run. Apart, because the process that runs them imports this file
and nothing else."""


def hang(path):
    while True:
        pass


def crash(path):
    import os

    os.abort()


def tell_imported(path):
    """Whether the readers of images, and the model, were imported before this one was asked."""
    import sys
    from types import SimpleNamespace

    import numpy as np

    names = [["attrinet.data.images", "torch"], ["attrinet.nets.attrinet", "attrinet.viewer.sessions"]]
    return SimpleNamespace(numpy=lambda: np.array([[name in sys.modules for name in row] for row in names]))


def tell_limits(path):
    """((soft, hard) of a core dump in bytes, of processor time in seconds), where an image would have its pixels."""
    import resource
    from types import SimpleNamespace

    import numpy as np

    limits = np.array([resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_CPU)])
    return SimpleNamespace(numpy=lambda: limits)
