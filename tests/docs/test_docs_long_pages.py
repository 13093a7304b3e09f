"""The pages with many commands: test_docs_commands.py in a file of their own, which another core takes."""

import pytest
from test_docs_commands import LONG, PAGES, ROOT, mine, run_page, work

__all__ = ["mine", "work"]  # fixtures


@pytest.mark.parametrize("page", [page for page in PAGES if page.name in LONG],
                         ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_long_page_run_one_after_another(page, work, mine):
    run_page(page, work, mine)
