"""A real Chromium, driven through Debian's chromedriver, at the pages of Burrow."""

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.e2e.harness import PATIENCE, wait_for
from tests.programs import npm_install, program

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the tests may run as root, and open pages of their own alone
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--ignore-certificate-errors",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--lang=en",
)


def axe_source(folder):
    """The text of axe-core, fetched by npm."""
    npm_install(folder, "axe-core@4")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


class Chromium:
    """One browser. @param flags: more of its flags. @ivar driver: selenium's."""

    def __init__(self, *flags):
        options = webdriver.ChromeOptions()
        options.binary_location = program("chromium")
        for flag in (*FLAGS, *flags):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(program("chromedriver")))
        self.size(1280, 800)

    def close(self):
        self.driver.quit()

    def size(self, width, height, mobile=False, scale=1):
        """The size of the page in CSS pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def colours(self, scheme):
        """What the system prefers: "light" or "dark"."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def fresh(self, url):
        """Open a page as nobody."""
        for command in ("Network.clearBrowserCookies", "Network.clearBrowserCache"):
            self.driver.execute_cdp_cmd(command, {})
        self.driver.get("about:blank")
        self.troubles()
        self.driver.get(url)

    def run(self, script, *arguments):
        """What a script in the page returns."""
        return self.driver.execute_script(script, *arguments)

    def text(self, selector="body"):
        """The text that is seen of the first element; empty if there is none."""
        return self.run(
            "const found = document.querySelector(arguments[0]); return found ? found.innerText : ''",
            selector,
        )

    def texts(self, selector):
        """The texts that are seen of all elements that fit."""
        return self.run(
            "return [...document.querySelectorAll(arguments[0])]"
            ".filter((one) => one.checkVisibility()).map((one) => one.innerText.trim())",
            selector,
        )

    def sees(self, words, selector="body", patience=PATIENCE):
        """Wait until the text of an element has these words."""
        try:
            wait_for(lambda: words in self.text(selector), repr(words), patience)
        except AssertionError as error:
            raise AssertionError(f"{error}; the page says:\n{self.text()}") from None

    def sees_no(self, words, selector="body"):
        """Wait until it has not."""
        wait_for(lambda: words not in self.text(selector), f"the end of {words!r}")

    def wait_for(self, script, what=""):
        """Wait until what a script in the page returns is true; return that."""
        return wait_for(lambda: self.run(script), what or script)

    def find(self, selector, words=""):
        """The first element that is seen and whose text has these words."""

        def look():
            try:
                for element in self.driver.find_elements(By.CSS_SELECTOR, selector):
                    if element.is_displayed() and words in element.text:
                        return element
            except StaleElementReferenceException:
                pass
            return None

        return wait_for(look, f"{selector} {words!r}")

    def click(self, selector, words=""):
        """Click on it."""

        def press():
            try:
                self.find(selector, words).click()
            except StaleElementReferenceException:
                return False
            return True

        wait_for(press, f"a click on {selector} {words!r}")

    def type(self, selector, text):
        """Type into an empty field."""
        field = self.find(selector)
        field.clear()
        field.send_keys(text)

    def keys(self, *keys):
        """Press keys, wherever the focus is."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def tab_to(self, words, most=40):
        """Press the tabulator until what has the focus says these words, by its text or its label."""
        for _ in range(most):
            self.driver.switch_to.active_element.send_keys(Keys.TAB)
            if words in self.focus:
                return
        raise AssertionError(f"the focus does not come to {words!r}")

    @property
    def focus(self):
        """The text or label of what has the focus."""
        return self.run(
            "const it = document.activeElement; if (it === document.body) return '';"
            "return it.getAttribute('aria-label') || it.getAttribute('placeholder') || it.innerText || it.id"
        )

    def look_now(self):
        """Have the page ask the server now, as when it comes to the front."""
        self.run("document.dispatchEvent(new Event('visibilitychange'))")

    def troubles(self):
        """What the page's console told of errors since the last look."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def axe(self, source, *rules):
        """What axe finds, by these rules or by all: rule, severity and elements of each."""
        if not self.run("return typeof axe === 'object'"):
            self.run(source)
        found = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "axe.run(document, arguments[0]).then((all) => done(all.violations))",
            {"runOnly": rules} if rules else {},
        )
        return [
            (one["id"], one["impact"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found
        ]
