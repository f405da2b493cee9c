"""A browser for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pictures.browser import Browser, browser, find_browser


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_browser()
    if program is None:
        pytest.skip("this machine has no Chromium")
    with browser(program, tmp_path_factory.mktemp("browser")) as made:
        yield made
