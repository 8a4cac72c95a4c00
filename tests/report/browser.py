"""A headless browser for the tests of pages; there may be none."""

import contextlib
import importlib.util
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
"""Names of the commands of browsers that playwright can drive."""


def path_of_browser():
    """Path of an installed browser, None without one or without its driver."""
    if importlib.util.find_spec("playwright") is None:
        return None
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def started():
    """A browser that was started once."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path_of_browser(), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()
