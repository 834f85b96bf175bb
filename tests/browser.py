"""A real Chromium, without a window: driven over its own protocol, through pipes.

The protocol is Chrome's (https://chromedevtools.github.io/devtools-protocol/): JSON
messages that end with a zero byte, to the browser on its file 3 and from it on 4.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60  # seconds until a browser that says nothing counts as hung


def binary() -> str | None:
    """Where the browser is: as AZC_CHROMIUM says, or on the path."""
    named = os.environ.get("AZC_CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """The one tab of a browser; `faults` has whatever its console was told as an error."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        self._runs = True
        self.faults: list[str] = []
        self._loaded: set[str] = set()
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._back], [], [], PATIENCE)
            assert ready, f"the browser has said nothing for {PATIENCE} seconds"
            more = os.read(self._back, 1 << 16)
            assert more, "the browser has ended"
            self._rest += more
        line, self._rest = self._rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        method, params = message.get("method"), message.get("params", {})
        if method == "Page.lifecycleEvent" and params["name"] == "load":
            self._loaded.add(params["loaderId"])
        elif method == "Runtime.exceptionThrown":
            self.faults.append(json.dumps(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.faults.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.faults.append(json.dumps(params["args"]))
        elif method == "Page.javascriptDialogOpening":
            self.faults.append(f"dialog: {params['message']}")
            self._send("Page.handleJavaScriptDialog", accept=True)
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        return message

    def _send(self, method: str, **params: Any) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        return self._number

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its answer; what happens meanwhile is noted."""
        number = self._send(method, **params)
        while True:
            message = self._read()
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                result: dict[str, Any] = message["result"]
                return result

    def resize(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """A window of this many CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.call("Emulation.setDeviceMetricsOverride", mobile=width < 600, **size)
        scheme = {
            "name": "prefers-color-scheme",
            "value": "dark" if dark else "light",
        }
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def scripts(self, allowed: bool) -> None:
        """Whether the next page that is opened may run its scripts."""
        self.call("Emulation.setScriptExecutionDisabled", value=not allowed)
        self._runs = allowed

    def open(self, file: Path, anchor: str = "") -> None:
        """Opens a file and waits until it is loaded."""
        self.visit(file.resolve().as_uri() + anchor)

    def visit(self, address: str) -> None:
        """Opens an address and waits until it is loaded."""
        # From a page to another place in it is no loading.
        for url in ("about:blank", address):
            loader = self.call("Page.navigate", url=url)["loaderId"]
            while loader not in self._loaded:
                self._read()

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, script: str) -> None:
        """Waits until a JavaScript expression is true, and fails where it never is."""
        self.run(
            f"""new Promise((done, fail) => {{
                const end = Date.now() + {1000 * PATIENCE};
                const look = () => {{
                    if ({script}) done(true);
                    else if (Date.now() > end) fail(new Error("it never was true"));
                    else setTimeout(look, 20);
                }};
                look();
            }})"""
        )

    def click(self, selector: str) -> None:
        """A click of the mouse in the middle of the first element found."""
        place = self.run(
            f"""(() => {{
                const found = document.querySelector({json.dumps(selector)});
                found.scrollIntoView({{block: "center", behavior: "instant"}});
                const box = found.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        at = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **at)
        if self._runs:  # what the click has set off is done two frames later
            frame = "requestAnimationFrame"
            self.run(f"new Promise(done => {frame}(() => {frame}(done)))")

    def key(self, name: str, code: int, text: str = "") -> None:
        """A key pressed and let go."""
        keys = {"key": name, "code": name, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **keys)
        self.call("Input.dispatchKeyEvent", type="keyUp", **keys)

    def picture(self, file: Path, *, whole: bool = False) -> None:
        """A screenshot as PNG, of the window or of the whole page."""
        taken = self.call(
            "Page.captureScreenshot",
            captureBeyondViewport=whole,
            **({"clip": self._whole()} if whole else {}),
        )
        file.write_bytes(base64.b64decode(taken["data"]))

    def _whole(self) -> dict[str, float]:
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {**size, "scale": 1}


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A browser with a profile of its own, ended at the end."""
    found = binary()
    assert found is not None
    to_read, to_write = os.pipe()
    back_read, back_write = os.pipe()
    # The shell puts the pipes where the browser looks for them.
    command = 'exec "$@" 3<&"$0" 4>&"$AZC_BACK"'
    process = subprocess.Popen(
        [
            *("bash", "-c", command, str(to_read), found),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--remote-debugging-pipe", "--no-first-run", "--disable-extensions"),
            *("--disable-background-networking", "--hide-scrollbars"),
            f"--user-data-dir={profile}",
        ],
        pass_fds=(to_read, back_write),
        env={**os.environ, "AZC_BACK": str(back_write)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(back_write)
    try:
        page = Page(to_write, back_read)
        yield page
        page._session = None
        page._send("Browser.close")
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
        os.close(to_write)
        os.close(back_read)
