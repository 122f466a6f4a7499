"""Rails as Debian has it: a scaffold's page, a form with its CSRF token, a redirect, a view that changes."""

from tests.devservers.developing import project, replace
from tests.e2e.harness import free_port


def test_scaffold(start, tunnel, tmp_path):
    folder = project("shop", tmp_path)
    port = free_port()
    rails = start("bin/rails", "server", "-p", port, cwd=folder)
    rails.line("Listening on")
    page = tunnel(port)
    page.open("Yay! You", selector="h1")
    page.open("Orders", "/orders")
    page.browser.click("a", "New Order")
    page.browser.type("#order_name", "bring milk")
    page.browser.click("input[type=submit]")
    page.browser.sees("Order was successfully created")
    page.browser.sees("bring milk")
    assert page.browser.driver.current_url.startswith(page.url + "/orders/")
    page.no_troubles()
    replace(folder / "app" / "views" / "orders" / "index.html.erb", "Orders", "Changed by hand")
    page.browser.click("a", "Back")
    page.reload_until("Changed by hand")
    page.no_troubles()
