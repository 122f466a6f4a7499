"""A real Chromium without a window, for tests."""

import contextlib
import shutil

from selenium import webdriver
from selenium.webdriver.chrome.service import Service


@contextlib.contextmanager
def chromium(*arguments):
    """A browser, closed at the end. C{arguments}: more of its command line's."""
    options = webdriver.ChromeOptions()
    # The sandbox needs rights that a container does not give; the shared memory of one is too small.
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        *arguments,
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.set_window_size(1280, 800)
        yield driver
    finally:
        driver.quit()
