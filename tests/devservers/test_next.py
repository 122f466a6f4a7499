"""What create-next-app makes: Fast Refresh of a page, and a server action."""

from tests.devservers.developing import node, project, replace
from tests.e2e.harness import free_port

ACTION = """
import { redirect } from "next/navigation";

async function keep(form: FormData) {
  "use server";
  redirect(`/?kept=${form.get("note")}`);
}

export default function Notes() {
  return <form action={keep}><input name="note" /><button>Keep</button></form>;
}
"""


def test_fast_refresh(start, tunnel, tmp_path):
    folder = project("next", tmp_path)
    notes = folder / "app" / "notes" / "page.tsx"
    notes.parent.mkdir()
    notes.write_text(ACTION)
    port = free_port()
    start("npm", "run", "dev", "--", "-p", port, cwd=folder, env=node()).line("Ready in")
    page = tunnel(port)
    page.open("To get started")
    page.connected("/_next/hmr")
    page.mark()
    replace(folder / "app" / "page.tsx", "To get started", "Changed by hand")
    page.browser.sees("Changed by hand")
    assert page.marked
    page.open("Keep", "/notes", "button")
    page.browser.type("input[name=note]", "milk")
    page.browser.click("button", "Keep")
    page.is_at("/?kept=milk")
    page.browser.sees("Changed by hand")
    page.no_troubles()
