"""The server of a page: who may see it, and who may change anything."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from azc.report.live import Live
from azc.report.server import Server, is_loopback
from azc.search.steer import Desk
from azc.search.view import RunView, read_run
from tests.cli.test_acts import PROPOSAL

PAUSE = {"kind": "pause"}


@pytest.fixture
def server(view: RunView, tmp_path: Path) -> Iterator[Server]:
    """A server of a run of the test's own, at work in a thread."""
    run = Path(shutil.copytree(view.folder, tmp_path / "run"))
    server = Server(Live(run), Desk(run, "ana"), "127.0.0.1", 0)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield server
    server.close()
    thread.join()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def ask(
    server: Server,
    path: str = "/",
    headers: Mapping[str, str] = {},
    body: str | bytes | None = None,
    method: str | None = None,
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    given = {"Host": f"127.0.0.1:{server.port}", **headers}
    connection.request(method or ("GET" if body is None else "POST"), path, body, given)
    found = connection.getresponse()
    answer = Answer(found.status, found.headers, found.read().decode())
    connection.close()
    return answer


def own(server: Server) -> dict[str, str]:
    """What the page's own requests have."""
    return {
        "Cookie": f"other=1; azc-{server.port}={server.token}",
        "Origin": f"http://127.0.0.1:{server.port}",
        "Sec-Fetch-Site": "same-origin",
        "Content-Type": "application/json",
    }


def send(server: Server, value: object, **changes: str | None) -> Answer:
    headers = own(server)
    for name, change in changes.items():
        headers.pop(name.replace("_", "-"), None)
        if change is not None:
            headers[name.replace("_", "-")] = change
    return ask(server, "/acts", headers, json.dumps(value))


def acts(server: Server) -> list[str]:
    return [act.words for act in read_run(server.live.folder).acts]


def test_the_token_opens_the_page_once_and_a_cookie_after(server: Server) -> None:
    first = ask(server, f"/?token={server.token}")
    assert (first.status, first.headers["Location"], first.text) == (303, "/", "")
    cookie = first.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    page = ask(server, "/", {"Cookie": cookie.split(";")[0]})
    assert page.status == 200
    assert '<section id="steer"' in page.text
    assert server.token not in page.text
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/", "/events", "/acts", "/nothing", "/?token=guess"])
def test_nothing_is_told_without_the_token(server: Server, path: str) -> None:
    for headers in (
        {},
        {"Cookie": f"azc-{server.port}=guess"},
        {"Cookie": f"azc-1={server.token}"},
        {"Authorization": "Bearer guess"},
        {"Cookie": "\xe9=\xff; ;=;"},
    ):
        answer = ask(server, path, headers)
        assert answer.status == 403
        assert "steer" not in answer.text
    assert ask(server, "/acts", {}, json.dumps(PAUSE)).status == 403
    assert acts(server) == []


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.1@evil.example",
        "10.0.0.7",
        "[::1",
        "",
    ],
)
def test_another_name_is_refused(server: Server, host: str) -> None:
    """A name of another site that points here (DNS rebinding), with whatever token."""
    answer = ask(server, "/", {**own(server), "Host": host})
    assert answer.status == 421
    origin = {**own(server), "Host": host, "Origin": f"http://{host}"}
    assert ask(server, "/acts", origin, json.dumps(PAUSE)).status == 421
    assert acts(server) == []


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": None}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Cookie": None}, 403),
    ],
    ids=str,
)
def test_another_page_changes_nothing(
    server: Server, changes: dict[str, str | None], status: int
) -> None:
    """Cross-site request forgery: the browser sends what it has, and says from where."""
    assert send(server, PAUSE, **changes).status == status
    assert acts(server) == []


def test_the_page_changes_what_it_may(server: Server) -> None:
    for value, words in (
        (PAUSE, "ana pauses the run"),
        ({"kind": "go-on"}, "ana lets the run go on"),
        ({"kind": "draw", "feature": "tanh", "times": 0}, "ana bans `tanh`"),
        ({"kind": "stop", "candidate": 2}, "ana stops candidate 0002"),
        (
            {"kind": "budget", "evaluations": 40},
            "ana gives a budget of 40 evaluations",
        ),
        (
            {"kind": "propose", "program": PROPOSAL, "note": "why", "parents": [1]},
            "ana proposes a program: why",
        ),
        (
            {"kind": "limit", "limit": "params=1e6"},
            "ana limits parameters to 1,000,000",
        ),
        (
            {"kind": "limit", "limit": "params=none"},
            "ana lifts the limit of parameters",
        ),
    ):
        answer = send(server, value)
        assert answer.status == 200
        assert answer.json["words"] == words
        assert acts(server)[-1] == words


def test_a_command_with_the_token_may_too(server: Server) -> None:
    headers = {
        "Authorization": f"Bearer {server.token}",
        "Content-Type": "application/json",
    }
    assert ask(server, "/acts", headers, json.dumps(PAUSE)).status == 200
    elsewhere = {**headers, "Origin": "http://evil.example"}
    assert ask(server, "/acts", elsewhere, json.dumps(PAUSE)).status == 403


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({}, "U025"),
        ({"kind": "run", "program": "import os"}, "U025"),
        ({"kind": "draw", "feature": "tanh"}, "U025"),
        ({"kind": "draw", "feature": ["tanh"], "times": 1}, "U025"),
        ({"kind": "draw", "feature": "tanh", "times": True}, "U025"),
        ({"kind": "draw", "feature": "gelu", "times": 0}, "U025"),
        ({"kind": "draw", "feature": "tanh", "times": 10**400}, "U025"),
        ({"kind": "stop", "candidate": "2"}, "U025"),
        ({"kind": "stop", "candidate": 10**400}, "U025"),
        ({"kind": "limit", "limit": 7}, "U025"),
        ({"kind": "limit", "limit": "params"}, "U020"),
        ({"kind": "limit", "limit": "latency=none"}, "U025"),
        ({"kind": "limit", "limit": "params=1"}, "U026"),
        ({"kind": "stop", "candidate": 1}, "U025"),
        ({"kind": "budget", "evaluations": 1}, "U022"),
        ({"kind": "budget", "evaluations": 10**30}, "U022"),
        ({"kind": "propose", "program": None}, "U025"),
        ({"kind": "propose", "program": PROPOSAL, "name": 7}, "U025"),
        ({"kind": "propose", "program": PROPOSAL, "name": "x"}, "U101"),
        ({"kind": "propose", "program": PROPOSAL, "parents": ["1"]}, "U025"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_told(server: Server, value: object, code: str) -> None:
    answer = send(server, value)
    assert answer.status == 422
    assert answer.json["error"]["code"] == code
    assert len(answer.text) < 2000  # whatever was sent
    assert acts(server) == []


def test_a_program_that_no_file_can_hold_is_refused(server: Server) -> None:
    """A JSON string may have a surrogate: the journal could keep the act, and no run the
    candidate.
    """
    program = PROPOSAL.replace("model", "# \ud800\nmodel")
    answer = send(server, {"kind": "propose", "program": program})
    assert answer.status == 422
    assert answer.json["diagnostics"][0]["code"] == "AZG004"
    assert acts(server) == []


def test_a_program_is_text_and_reads_no_file(server: Server) -> None:
    beside = server.live.folder.parent / "secret.azg"
    beside.write_text(PROPOSAL)
    for module in (".secret", "..secret", ".run.secret"):
        text = f"from {module} import proposal\n{PROPOSAL}"
        answer = send(server, {"kind": "propose", "program": text})
        assert answer.status == 422
        assert answer.json["diagnostics"][0]["code"] in ("AZG001", "AZG123")
        assert "your program:1:" in answer.json["text"]
    assert acts(server) == []


def test_what_is_no_request_of_ours_is_refused(server: Server) -> None:
    headers = own(server)
    assert ask(server, "/acts", headers, b"{").status == 400
    assert ask(server, "/acts", headers, b"[1]").status == 400
    assert ask(server, "/acts", headers, b"\xff").status == 400
    assert ask(server, "/acts", headers, b"[" * 100_000).status == 400
    assert ask(server, "/else", headers, b"{}").status == 404
    assert ask(server, "/else", headers).status == 404
    long = {**headers, "Content-Length": str(10**9)}
    assert ask(server, "/acts", long, b"{}").status == 413
    assert ask(server, "/acts", {**headers, "Content-Length": "x"}, b"").status == 411
    assert ask(server, "/", headers, method="DELETE").status == 501
    assert send(server, PAUSE).status == 200


def test_news_come_as_the_run_changes(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/events", headers=own(server))
    events = connection.getresponse()
    assert events.headers["Content-Type"] == "text/event-stream"
    first = events.readline()
    assert first.startswith(b"data: ")
    before = server.live.moment
    server.desk.draw("tanh", 0)
    lines = iter(events.readline, b"")
    assert next(line for line in lines if line.startswith(b"data: ")) != first
    now = server.live.moment
    assert now.number > before.number
    assert "ana bans `tanh`" in now.html
    assert "ana bans `tanh`" not in before.html
    connection.close()


def test_whatever_is_sent_is_answered(
    server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    """No traceback on the terminal of whoever serves, and none for whoever asks."""
    for line, status in (
        (b"GET http://[ HTTP/1.1", b"400"),
        (b"HEAD / HTTP/1.1", b"501"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1", b"414"),
    ):
        host = f"Host: 127.0.0.1:{server.port}".encode()
        with socket.create_connection(("127.0.0.1", server.port), 60) as found:
            found.sendall(line + b"\r\n" + host + b"\r\n\r\n")
            answer = b"".join(iter(lambda: found.recv(65536), b""))
        assert b" " + status + b" " in answer.split(b"\r\n")[0] + b" "
        assert b"Content-Type: text/plain" in answer
        assert b"<" not in answer
    assert ask(server, "/", own(server), method="HEAD").text == ""
    # Who goes away in the midst of a request, with a reset.
    with socket.create_connection(("127.0.0.1", server.port), 60) as gone:
        gone.sendall(b"GET / HTT")
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert send(server, PAUSE).status == 200
    server.close()
    assert capfd.readouterr().err == ""


def test_a_fault_of_ours_is_told(
    server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("azc.report.server.perform", fails)
    answer = send(server, PAUSE)
    assert (answer.status, answer.json["error"]["code"]) == (500, "X001")
    assert "Traceback" not in capfd.readouterr().err


def test_a_run_whose_folder_is_gone_is_told(server: Server) -> None:
    assert ask(server, "/", own(server)).status == 200
    number = server.live.moment.number
    away = server.live.folder.rename(server.live.folder.with_name("away"))
    assert server.live.wait(number, 60).fault is not None
    answer = ask(server, "/", own(server))
    assert answer.status == 503
    assert (
        answer.text == f"the run can't be read: there is no folder {away.parent}/run\n"
    )
    assert send(server, PAUSE).json["error"]["code"] == "R035"
    assert not server.live.folder.exists()  # nobody has made it again
    number = server.live.moment.number
    away.rename(server.live.folder)
    assert server.live.wait(number, 60).fault is None
    assert ask(server, "/", own(server)).status == 200


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("", "requested address"),
        ("ä" * 100, "not an address"),
        ("192.0.2.1", "requested address"),
    ],
    ids=["none", "long", "another"],
)
def test_an_address_that_can_not_be_had_is_named(
    view: RunView, host: str, said: str
) -> None:
    with pytest.raises(OSError, match=said) as caught:
        Server(Live(view.folder), Desk(view.folder, "ana"), host, 0)
    assert caught.value.filename == f"{host}:0"


def test_a_port_that_is_taken_is_named(server: Server) -> None:
    with pytest.raises(OSError, match="in use") as caught:
        Server(server.live, server.desk, "127.0.0.1", server.port)
    assert caught.value.filename == f"127.0.0.1:{server.port}"


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.7", "local", "")))


def test_an_address_that_others_reach_goes_by_addresses(view: RunView) -> None:
    server = Server(Live(view.folder), Desk(view.folder, "ana"), "0.0.0.0", 0)
    try:
        assert server.url.startswith("http://localhost:")
        for host in ("10.0.0.7:80", "[fe80::1]", "localhost"):
            assert server.allows(host)
        assert not server.allows("evil.example")
    finally:
        server._http.server_close()
