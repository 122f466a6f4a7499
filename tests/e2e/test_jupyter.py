"""Burrow in a real Jupyter kernel, whose loop runs while its cells do."""

import os

import nbformat
import pytest
from jupyter_client import KernelManager
from nbclient import NotebookClient

from tests.e2e.harness import reply
from tests.e2e.programs import PRELUDE

COUNT = """
import asyncio
def there():
    tasks = [task.get_coro() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    return (
        sorted(thread.name for thread in threading.enumerate()),
        len(os.listdir("/proc/self/fd")),
        sorted(task.__qualname__ for task in tasks if "ipykernel" not in task.cr_code.co_filename),
    )
async def nothing_left(before):
    ends = time.monotonic() + 30
    while not (there()[1] <= before[1] and there()[::2] == before[::2]):  # the kernel opens files of its own
        assert time.monotonic() < ends, (before, there())
        await asyncio.sleep(0.05)
    print("nothing is left")
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"asgi"})
def wsgi(environ, start):
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"wsgi"]
"""

WARM_UP = """
async with burrow.aforward(port) as tunnel:  # what the first tunnel of a process loads, stays
    await asyncio.to_thread(get, tunnel.url)
with burrow.serving(app) as tunnel:
    get(tunnel.url)
async with burrow.aserve(wsgi) as tunnel:
    await asyncio.to_thread(get, tunnel.url)
"""


@pytest.fixture
def hello(upstream):
    return upstream(lambda handler: reply(handler, b"hello"))


@pytest.fixture
def environ(world, tmp_path):
    """The kernel's environment; what it writes for itself goes into the test's folder."""
    own = {name: str(tmp_path / name) for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR")}
    return {**os.environ, **world.env, **own, "PYTHONPATH": os.getcwd()}


def run(environ, folder, *cells):
    """Run a notebook; what each cell printed. @raise CellExecutionError: a cell failed."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=environ)
    return [
        "".join(output.get("text", "") for output in cell.outputs if output.output_type == "stream").strip()
        for cell in notebook.cells
    ]


def test_a_notebook(environ, tmp_path, hello):
    """A tunnel opened both ways, in one cell and over several; apps; all is gone afterwards."""
    printed = run(
        environ,
        tmp_path,
        PRELUDE + f"port = {hello.port}\n" + COUNT,
        WARM_UP,
        "before = there()",
        'with burrow.forward(port, name="sync") as tunnel:\n    print(tunnel.name, get(tunnel.url))',
        'async with burrow.aforward(port, name="async") as tunnel:\n'
        "    print(tunnel.name, await asyncio.to_thread(get, tunnel.url))",
        'kept = burrow.forward(port, name="kept")',
        'print(get(kept.url + "/cell"), kept.closed)',
        "wait_for(lambda: kept.requests and kept.requests[-1].ended)\n"
        "again = kept.requests[-1].replay()\nprint(again.method, again.path, again.status)",
        "kept.close()\nprint(kept.closed)",
        'kept = await burrow.aforward(port, name="kept")\nprint(kept.url)',
        "await kept.aclose()\nprint(kept.closed)",
        "with burrow.serving(app) as tunnel:\n    print(get(tunnel.url))",
        "with burrow.serving(wsgi) as tunnel:\n    print(get(tunnel.url))",
        "async with burrow.aserve(app) as tunnel:\n    print(await asyncio.to_thread(get, tunnel.url))",
        "try:\n    burrow.forward(port, token='no')\nexcept burrow.BurrowError as error:\n    print(error)",
        "await nothing_left(before)",
    )[3:]
    assert printed[:4] == ["sync b'hello'", "async b'hello'", "", "b'hello' False"]
    assert printed[4:6] == ["GET /cell 200", "True"]
    assert printed[6].startswith("https://kept.localhost")
    assert printed[7:11] == ["True", "b'asgi'", "b'wsgi'", "b'asgi'"]
    assert "the token is unknown or revoked" in printed[11]
    assert printed[12] == "nothing is left"


def test_a_hundred_in_a_kernel_leave_nothing(environ, tmp_path, hello):
    printed = run(
        environ,
        tmp_path,
        PRELUDE + f"port = {hello.port}\n" + COUNT,
        WARM_UP,
        "before = there()",
        """
for _ in range(40):
    async with burrow.aforward(port, name="again"):
        pass
for _ in range(40):
    with burrow.forward(port, name="again"):
        pass
for _ in range(20):
    async with burrow.aserve(app, name="served"):
        pass
""",
        "await nothing_left(before)",
    )
    assert printed[-1] == "nothing is left"


class Kernel:
    """A kernel whose cells can be interrupted."""

    def __init__(self, environ, folder):
        self._manager = KernelManager(kernel_name="python3")
        self._manager.start_kernel(env=environ, cwd=str(folder))
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    def run(self, code, interrupt_at=None):
        """
        Run a cell; what it printed, and the name of the error that it ended with, or None.

        @param interrupt_at: what it prints when it is to be interrupted, as by the button of a notebook.
        """
        printed = []

        def output(message):
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])
                if interrupt_at is not None and interrupt_at in printed[-1]:
                    self._manager.interrupt_kernel()

        answer = self._client.execute_interactive(code, timeout=120, output_hook=output, allow_stdin=False)
        content = answer["content"]
        if content.get("ename") == "AssertionError":
            raise AssertionError(content["evalue"])
        return "".join(printed).strip(), content.get("ename")

    def close(self):
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(environ, tmp_path):
    kernel = Kernel(environ, tmp_path)
    yield kernel
    kernel.close()


def test_an_interrupted_cell_ends_cleanly(kernel, hello):
    """Each way to wait in a cell: the tunnel is closed, the kernel goes on, and nothing is left."""
    assert kernel.run(PRELUDE + f"port = {hello.port}\n" + COUNT) == ("", None)
    assert kernel.run(WARM_UP) == ("", None)
    assert kernel.run("before = there()") == ("", None)
    for code, error in (
        (
            "with burrow.forward(port, name='waits') as tunnel:\n"
            "    print('open', flush=True)\n    tunnel.wait_closed()",
            "KeyboardInterrupt",
        ),
        (
            "async with burrow.aforward(port, name='sleeps') as tunnel:\n"
            "    print('open', flush=True)\n    while True: await asyncio.sleep(0.1)",
            "CancelledError",  # by ipykernel, as soon as its loop wakes up: so it sleeps a moment at a time
        ),
        ("burrow.serve(wsgi, ready=lambda tunnel: print('open', flush=True))", None),
        ("burrow.serve(app, ready=lambda tunnel: print('open', flush=True))", None),
    ):
        assert kernel.run(code, interrupt_at="open") == ("open", error), code
        assert kernel.run("print(tunnel.closed)") == ("True", None)
        assert kernel.run("await nothing_left(before)") == ("nothing is left", None), code
