"""HTML pages: templates, how numbers read in them, writing them whole."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from attrinet.files import write_atomically
from attrinet.numerals import interval, number


def write_page(out: Path, template: str, **values) -> Path:
    """Render templates/`template` to `out`, which is replaced only by a finished page."""
    env = Environment(loader=PackageLoader("attrinet.report"), autoescape=True, undefined=StrictUndefined,
                      trim_blocks=True, lstrip_blocks=True)
    env.filters["interval"] = interval
    env.filters["number"] = number
    env.filters["count"] = "{:,}".format
    page = env.get_template(template).render(values)
    write_atomically(out, lambda path: path.write_text(page))
    return out
