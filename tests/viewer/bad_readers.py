"""Image readers that misbehave. Apart, because the process that runs them imports this file and nothing else."""


def hang(path):
    while True:
        pass


def crash(path):
    import os

    os.abort()
