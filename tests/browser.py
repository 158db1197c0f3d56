"""A headless Chromium, spoken to by the protocol of its developers' tools."""

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

from tornado.websocket import websocket_connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--remote-debugging-port=0", "--no-first-run"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--window-size=1400,1000", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--no-default-browser-check"),
)
_PATIENCE = 60.0


class Browser:
    """One window of a browser, which notes what a page says and asks for.

    Attributes:
        errors: What the page printed as an error, or raised.
        requests: Addresses it asked for, but those of data and of its own file.
        folder: Where downloads land.
    """

    def __init__(self, width=1400, height=1000):
        self.errors, self.requests = [], []
        self._home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.folder = Path(self._home.name) / "downloads"
        self.folder.mkdir()
        command = [CHROMIUM, *_OPTIONS, f"--user-data-dir={self._home.name}/profile", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._loop = asyncio.new_event_loop()
        self._count = 0
        self._socket = self._loop.run_until_complete(self._connect(self._address()))
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.folder))
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()
        self._process.terminate()
        self._process.wait(10)
        self._loop.close()
        self._home.cleanup()

    def open(self, path, ready="document.body && document.body.dataset.ready === 'yes'"):
        """Open a file and wait until it is ready; returns the seconds this took."""
        self.errors.clear()
        self.requests.clear()
        began = time.monotonic()
        self.send("Page.navigate", url=Path(path).resolve().as_uri())
        self.wait(ready)
        return time.monotonic() - began

    def wait(self, condition):
        """Wait until an expression is true."""
        until = time.monotonic() + _PATIENCE
        while not self.evaluate(condition):
            if time.monotonic() > until:
                raise TimeoutError(f"{condition} did not become true; errors: {self.errors}")
            time.sleep(0.05)

    def evaluate(self, expression):
        """The value of an expression; what it promises is waited for."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        answer = self.send("Runtime.evaluate", **asked)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", expression))
        return answer["result"].get("value")

    def text(self, name):
        """Text of the element of a ``data-testid``."""
        return self.evaluate(f"document.querySelector('[data-testid={name}]').textContent")

    def drag(self, start, end, steps=8):
        """Press the mouse at a point of the window, move it to another and let it go."""
        points = [tuple(a + (b - a) * i / steps for a, b in zip(start, end, strict=True)) for i in range(steps + 1)]
        self._mouse("mouseMoved", points[0], buttons=0)
        self._mouse("mousePressed", points[0])
        for point in points[1:]:
            self._mouse("mouseMoved", point)
        self._mouse("mouseReleased", points[-1])

    def point(self, at):
        """Move the mouse to a point of the window."""
        self._mouse("mouseMoved", at, buttons=0)

    def screenshot(self, path):
        """Write the whole page as PNG."""
        answer = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        Path(path).write_bytes(base64.b64decode(answer["data"]))

    def send(self, method, **params):
        """The answer to a message."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        return self._loop.run_until_complete(self._answer(self._count, message))

    async def _connect(self, address):
        return await websocket_connect(address, max_message_size=2**28)

    async def _answer(self, number, message):
        await self._socket.write_message(json.dumps(message))
        while True:
            answer = json.loads(await self._socket.read_message())
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{message['method']}: {answer['error']}")
                return answer["result"]
            self._note(answer.get("method"), answer.get("params", {}))

    def _note(self, method, said):
        if method == "Runtime.exceptionThrown":
            self.errors.append(said["exceptionDetails"].get("exception", {}).get("description", str(said)))
        if method == "Runtime.consoleAPICalled" and said["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(arg.get("value", arg.get("description"))) for arg in said["args"]))
        if method == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.errors.append(said["entry"]["text"])
        if method == "Network.requestWillBeSent" and not said["request"]["url"].startswith(("data:", "file:", "blob:")):
            self.requests.append(said["request"]["url"])

    def _mouse(self, kind, point, buttons=1):
        button = "left" if buttons else "none"
        self.send(
            "Input.dispatchMouseEvent", type=kind, x=point[0], y=point[1], button=button, buttons=buttons, clickCount=1
        )

    def _address(self):
        """Where the window is spoken to."""
        file, until = Path(self._home.name) / "profile" / "DevToolsActivePort", time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            if file.is_file() and (lines := file.read_text().splitlines()):
                with urlopen(f"http://127.0.0.1:{lines[0]}/json/list") as answer:
                    pages = [one for one in json.load(answer) if one["type"] == "page"]
                if pages:
                    return pages[0]["webSocketDebuggerUrl"]
            time.sleep(0.05)
        raise TimeoutError(f"{CHROMIUM} did not start")
