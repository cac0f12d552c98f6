"""A browser for all tests and a fresh tab for each, which may neither fail in silence nor ask any other host."""

import os
import shutil

import pytest
from playwright.sync_api import sync_playwright

# What a browser says of an answer that is no success; the tests see that on the page.
REFUSED = "Failed to load resource: the server responded with a status of 4"


@pytest.fixture(scope="session")
def url():
    return os.environ["CONSOLE_URL"]


@pytest.fixture(scope="session")
def operator():
    return os.environ["CONSOLE_OPERATOR_TOKEN"]


@pytest.fixture(scope="session")
def viewer():
    return os.environ["CONSOLE_VIEWER_TOKEN"]


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        # Root needs --no-sandbox; the browser sees this server alone.
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, url):
    context = browser.new_context(base_url=url)
    context.set_default_timeout(15_000)
    page = context.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on("console", lambda said: said.type == "error" and REFUSED not in said.text and problems.append(said.text))
    page.on("request", lambda request: request.url.startswith(url) or problems.append(f"asks {request.url}"))
    page.goto("/")
    yield page
    context.close()
    assert not problems


@pytest.fixture
def signed_in(page, operator):
    sign_in(page, operator)
    page.get_by_role("heading", name="Tasks").wait_for()
    return page


def sign_in(page, token):
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
