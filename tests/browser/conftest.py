"""A real browser for the pages, without network. Screenshots are kept in `screenshots` below pytest's folder."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Open = Callable[..., Any]
Wait = Callable[[Any, str], None]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: see tests/browser/install.sh")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Open a file in a window of its own; fail when the page writes an error or asks for the network."""
    contexts, faults = [], []

    def open_(file: Path, *, width: int = 1280, height: int = 900, fragment: str = "") -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: message.type == "error" and faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request",
            lambda request: (
                request.url.startswith(("file:", "data:"))
                or faults.append(f"asks for {request.url}")
            ),
        )
        page.goto(file.resolve().as_uri() + fragment)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not faults


@pytest.fixture
def wait_until() -> Wait:
    """Wait until an expression is true on a page. Playwright's own wait needs `eval`, which pages forbid."""

    def wait(page: Any, expression: str) -> None:
        for _ in range(100):
            if page.evaluate(expression):
                return
            page.wait_for_timeout(50)
        pytest.fail(f"not true within 5 s: {expression}")

    return wait
