"""The one exception users meet: its message names the file, row or option at fault and says what to do."""


class AttrinetError(Exception):
    """Bad input or an impossible request. The command line prints it on one line and exits with code 2."""


def said(error: Exception) -> str:
    """The first line of a message of somebody else's; the error's name where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


class Stopped(AttrinetError):
    """Work was interrupted on request, and nothing is half-written. The command line exits with code 130."""
