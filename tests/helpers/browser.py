"""A headless Chromium that tests drive over the DevTools protocol, through a pair of pipes."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PATIENCE = 20.0
"""Seconds any one answer may take."""

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-default-apps", "--disable-extensions",
    "--disable-sync", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio",
    "--remote-debugging-pipe",
)  # fmt: skip

_KEYS = {
    "Enter": (13, "\r"), " ": (32, " "), "Escape": (27, ""), "Tab": (9, ""),
    "ArrowLeft": (37, ""), "ArrowUp": (38, ""), "ArrowRight": (39, ""), "ArrowDown": (40, ""),
}  # fmt: skip


class Page:
    """One open page, and everything it complained of or asked the network for."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._last = 0
        self._rest = b""
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, path: Path, width: int = 1280, height: int = 1000) -> None:
        """Load a file and wait until its scripts have run."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        url = path.resolve().as_uri()
        failed = self.call("Page.navigate", url=url).get("errorText")
        assert not failed, failed
        self.until(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.run(condition):
            assert time.monotonic() < deadline, f"never true: {condition}"
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        """Press the middle of an element with the mouse, as a person does."""
        x, y = self.run(
            f"""(() => {{
                const node = document.querySelector({json.dumps(selector)});
                node.scrollIntoView({{ block: "center", inline: "center" }});
                const box = node.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def focus(self, selector: str) -> None:
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")

    def press(self, key: str) -> None:
        """Press a key where the focus is."""
        code, text = _KEYS[key]
        common = {"key": key, "code": "Space" if key == " " else key}
        self.call(
            "Input.dispatchKeyEvent",
            type="keyDown",
            windowsVirtualKeyCode=code,
            text=text,
            **common,
        )
        self.call("Input.dispatchKeyEvent", type="keyUp", windowsVirtualKeyCode=code, **common)

    def choose(self, selector: str, label: str) -> None:
        """Choose the option of a select that shows this text."""
        found = self.run(
            f"""(() => {{
                const select = document.querySelector({json.dumps(selector)});
                const option = [...select.options].find((o) => o.text === {json.dumps(label)});
                if (!option) return [...select.options].map((o) => o.text);
                select.value = option.value;
                select.dispatchEvent(new Event("change", {{ bubbles: true }}));
                return true;
            }})()"""
        )
        assert found is True, found

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and wait for its answer; what happens meanwhile is noted."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._send(json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            told = self._receive(deadline)
            if told.get("id") == self._last:
                assert "error" not in told, f"{method}: {told['error']}"
                answer: dict[str, Any] = told["result"]
                return answer
            self._note(told.get("method", ""), told.get("params", {}))

    def _send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._to, data) :]

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self._from], [], [], left)[0]
            assert ready, "the browser does not answer"
            got = os.read(self._from, 1 << 20)
            assert got, "the browser has ended"
            self._rest += got
        first, _, self._rest = self._rest.partition(b"\0")
        told: dict[str, Any] = json.loads(first)
        return told

    def _note(self, event: str, details: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown" or (
            event == "Runtime.consoleAPICalled"
            and details["type"] in {"error", "warning", "assert"}
        ):
            self.complaints.append(json.dumps(details))
        elif event == "Log.entryAdded" and details["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(json.dumps(details["entry"]))
        elif event == "Page.javascriptDialogOpening":
            self.complaints.append(f"a dialog opened: {details['message']}")
        elif event == "Network.requestWillBeSent":
            self.requests.append(details["request"]["url"])


@contextmanager
def browser() -> Iterator[Page]:
    """An empty page of a new browser, which is killed afterwards, whatever happens."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        theirs_in, to_browser = os.pipe()
        from_browser, theirs_out = os.pipe()
        # away from 3 and 4, which the browser reads and writes
        ends = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (theirs_in, theirs_out)]
        null = os.open(os.devnull, os.O_RDWR)
        process = os.posix_spawn(
            CHROMIUM,
            [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            os.environ,
            file_actions=[
                *((os.POSIX_SPAWN_DUP2, null, standard) for standard in (0, 1, 2)),
                (os.POSIX_SPAWN_DUP2, ends[0], 3),
                (os.POSIX_SPAWN_DUP2, ends[1], 4),
            ],
            setpgroup=0,
        )
        for fd in (theirs_in, theirs_out, *ends, null):
            os.close(fd)
        try:
            yield Page(to_browser, from_browser)
        finally:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            os.close(to_browser)
            os.close(from_browser)
