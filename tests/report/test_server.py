"""The server of a page: who may see it, and who may change anything."""

from __future__ import annotations

import json
import shutil
import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from azc.check.resolve import check_source
from azc.report.gate import Gate, is_loopback
from azc.report.live import Live
from azc.report.page import page as write
from azc.report.server import Server
from azc.search.records import START
from azc.search.steer import Desk
from azc.search.view import RunView, read_run
from azc.source import Source
from tests.cli.test_acts import PROPOSAL
from tests.report.dom import block, parse, rows
from tests.report.serving import Answer, ask, own, served, stream, version

PAUSE = {"kind": "pause"}


@pytest.fixture
def server(view: RunView, tmp_path: Path) -> Iterator[Server]:
    """A server of a run of the test's own."""
    with served(Path(shutil.copytree(view.folder, tmp_path / "run"))) as found:
        yield found


@pytest.fixture(scope="module")
def closed(view: RunView, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all that is refused: nothing has been done to its run."""
    folder = tmp_path_factory.mktemp("closed") / "run"
    with served(Path(shutil.copytree(view.folder, folder))) as found:
        yield found
        assert acts(found) == []


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
    first = ask(server, f"/?token={server.gate.token}")
    assert (first.status, first.headers["Location"], first.text) == (303, "/", "")
    cookie = first.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    page = ask(server, "/", {"Cookie": cookie.split(";")[0]})
    assert page.status == 200
    assert '<section id="steer"' in page.text
    assert server.gate.token not in page.text
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize(
    "path",
    "/ /?token=no /events /rows /changes?since=0 /candidate/1 /find?words=a /acts /no".split(),
)
def test_nothing_is_told_without_the_token(closed: Server, path: str) -> None:
    for headers in (
        {},
        {"Cookie": f"azc-{closed.gate.port}=guess"},
        {"Cookie": f"azc-1={closed.gate.token}"},
        {"Authorization": "Bearer guess"},
        {"Cookie": "\xe9=\xff; ;=;"},
    ):
        answer = ask(closed, path, headers)
        assert answer.status == 403
        assert "steer" not in answer.text
    assert ask(closed, "/acts", {}, json.dumps(PAUSE)).status == 403


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
def test_another_name_is_refused(closed: Server, host: str) -> None:
    """A name of another site that points here (DNS rebinding), with whatever token."""
    answer = ask(closed, "/", {**own(closed), "Host": host})
    assert answer.status == 421
    origin = {**own(closed), "Host": host, "Origin": f"http://{host}"}
    assert ask(closed, "/acts", origin, json.dumps(PAUSE)).status == 421


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
    closed: Server, changes: dict[str, str | None], status: int
) -> None:
    """Cross-site request forgery: the browser sends what it has, and says from where."""
    assert send(closed, PAUSE, **changes).status == status


def test_the_page_changes_what_it_may(server: Server) -> None:
    for value, words in (
        (PAUSE, "ana pauses the run"),
        ({"kind": "go-on"}, "ana continues the run"),
        ({"kind": "draw", "feature": "tanh", "times": 0}, "ana bans `tanh`"),
        ({"kind": "stop", "candidate": 2}, "ana stops candidate 0002"),
        (
            {"kind": "budget", "evaluations": 40},
            "ana sets the budget to 40 evaluations",
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
            "ana removes the limit on parameters",
        ),
    ):
        answer = send(server, value)
        assert answer.status == 200
        assert answer.json["words"] == words
        assert acts(server)[-1] == words


def test_a_command_with_the_token_may_too(server: Server) -> None:
    headers = {
        "Authorization": f"Bearer {server.gate.token}",
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
def test_what_makes_no_sense_is_told(closed: Server, value: object, code: str) -> None:
    answer = send(closed, value)
    assert answer.status == 422
    assert answer.json["error"]["code"] == code
    assert len(answer.text) < 2000  # whatever was sent


def test_a_program_that_no_file_can_hold_is_refused(closed: Server) -> None:
    """A JSON string may have a surrogate: the journal could keep the act, and no run the
    candidate.
    """
    program = PROPOSAL.replace("model", "# \ud800\nmodel")
    answer = send(closed, {"kind": "propose", "program": program})
    assert answer.status == 422
    assert answer.json["diagnostics"][0]["code"] == "AZG004"


def test_a_program_is_text_and_reads_no_file(closed: Server) -> None:
    beside = closed.live.folder.parent / "secret.azg"
    beside.write_text(PROPOSAL)
    for module in (".secret", "..secret", ".run.secret"):
        text = f"from {module} import proposal\n{PROPOSAL}"
        answer = send(closed, {"kind": "propose", "program": text})
        assert answer.status == 422
        assert answer.json["diagnostics"][0]["code"] in ("AZG001", "AZG123")
        assert "your program:1:" in answer.json["text"]


def test_what_is_no_request_of_ours_is_refused(closed: Server) -> None:
    headers = own(closed)
    for body in (b"{", b"[1]", b"\xff", b"[" * 100_000):
        assert ask(closed, "/acts", headers, body).status == 400
    assert ask(closed, "/else", headers, b"{}").status == 404
    assert ask(closed, "/else", headers).status == 404
    assert ask(closed, "/candidate/999", headers).status == 404
    assert ask(closed, "/candidate/x", headers).status == 404
    assert ask(closed, "/changes", headers).status == 400
    assert ask(closed, "/changes?since=-1", headers).status == 400
    long = {**headers, "Content-Length": str(10**9)}
    assert ask(closed, "/acts", long, b"{}").status == 413
    assert ask(closed, "/acts", {**headers, "Content-Length": "x"}, b"").status == 400
    chunked = {**headers, "Transfer-Encoding": "chunked"}
    assert ask(closed, "/acts", chunked, b"2\r\n{}\r\n0\r\n\r\n").status == 411
    assert ask(closed, "/", headers, method="DELETE").status == 405
    assert ask(closed, "/acts", headers).status == 405


def test_the_page_asks_for_what_it_has_not(closed: Server, view: RunView) -> None:
    """The same as a page that was written has packed into it."""
    headers = own(closed)
    page = parse(ask(closed, "/", headers).text)
    entries = page.all("details", "candidate")
    best = [e.candidate for e in view.ranking()]
    shown = [int(e.attributes["data-number"]) for e in entries]
    assert shown[: len(best)] == best
    assert not page.all("pre", "diff") or not entries[0].all("pre")
    found = rows(ask(closed, "/rows", headers).json["rows"])
    written = rows(block(parse(write(view)), "rows"))
    assert found == written
    for number, candidate in view.candidates.items():
        inside = parse(ask(closed, f"/candidate/{number}", headers).text)
        assert inside.one("pre", "code").text == candidate.program
    words = "CONV(kernel 5"
    wanted = [
        number
        for number, each in view.candidates.items()
        if all(w in each.program.lower() + each.mutation for w in words.lower().split())
    ]
    query = f"/find?words={words.replace(' ', '+').replace('(', '%28')}"
    assert ask(closed, query, headers).json == wanted != []


def test_news_come_as_the_run_changes_and_have_changes_alone(server: Server) -> None:
    with stream(server) as events:
        assert events.headers["Content-Type"].startswith("text/event-stream")
        first = version(events)
        server.desk.draw("tanh", 0)
        second = version(events)
        assert second > first
        news = ask(server, f"/changes?since={first}", own(server)).json
        assert news["version"] == second
        assert set(news["parts"]) == {"acts", "draws"}
        assert "ana bans <code>tanh</code>" in news["parts"]["acts"]
        assert news["rows"] == []
        nothing = ask(server, f"/changes?since={second}", own(server)).json
        assert nothing["parts"] == {}
        everything = ask(server, "/changes?since=0", own(server)).json
        assert set(everything["parts"]) > {"result", "search", "acts", "now"}
        assert len(everything["rows"]) == len(read_run(server.live.folder).candidates)
        assert everything["least"] == 15


def test_a_program_is_compiled_once(
    view: RunView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the page is drawn, and those shown first before the others."""
    compiled: list[str] = []

    def noted(source: Source) -> object:
        compiled.append(source.text)
        return check_source(source)

    monkeypatch.setattr("azc.report.models.check_source", noted)
    monkeypatch.setattr("azc.report.live._FIRST", 2)
    folder = Path(shutil.copytree(view.folder, tmp_path / "run"))
    live = Live(folder)
    best = [e.candidate for e in view.ranking()]
    assert {view.candidates[n].program for n in best[:2]} <= set(compiled)
    assert len(compiled) < len(view.candidates)
    waiting = json.loads(live.moment.all_rows)["rows"]
    assert any(row["parameters"] is None for row in rows(waiting).values())
    while live.is_behind:
        live.catch_up()
    assert sorted(compiled) == sorted(c.program for c in view.candidates.values())
    done = json.loads(live.moment.all_rows)["rows"]
    assert all(row["parameters"] for row in rows(done).values())
    before = len(compiled)
    Desk(folder, "ana").draw("tanh", 0)
    live._ready = 0.0
    assert live.look()
    assert len(compiled) == before


def test_a_new_score_changes_its_row_and_those_it_stands_beside(server: Server) -> None:
    with stream(server) as events:
        first = version(events)
        run = server.live.run
        before = read_run(run.path)
        number = before.rounds[-1][0] + 1
        members = [START, max(before.candidates)]
        with closing(run.desk()) as journal:
            journal.open_round(number, members, journal.state())
            for each in journal.evaluations(number):
                scores = {"loss": 1.0 + each.candidate}
                journal.record(replace(each, status="done", scores=scores, seconds=1.0))
        while True:
            now = version(events)
            answer = ask(server, f"/changes?since={first}", own(server)).json
            if server.live.moment.view.spent == before.spent + 2:
                break
        assert now > first
        # Scores of shared weights compare in the last round alone: those that decided
        # until now decide no more.
        touched = {*members, *(e.candidate for e in before.ranking())}
        touched |= {each.id for each in before.lineage(before.winner or 0)}
        changed = {row[0] for row in answer["rows"]}
        assert set(members) <= changed <= touched < before.candidates.keys()


def test_whatever_is_sent_is_answered(
    server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    """No traceback on the terminal of whoever serves, and none for whoever asks."""
    for line in (
        b"GET http://[ HTTP/1.1",
        b"GET /?token=%ff%00 HTTP/1.1",
        b"GET / HTTP",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1",
    ):
        host = f"Host: 127.0.0.1:{server.gate.port}\r\nConnection: close".encode()
        with socket.create_connection(("127.0.0.1", server.gate.port), 60) as found:
            found.sendall(line + b"\r\n" + host + b"\r\n\r\n")
            answer = b"".join(iter(lambda: found.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 40")
        assert b"content-type: text/plain" in answer
        assert b"<" not in answer
    assert ask(server, "/", own(server), method="HEAD").text == ""
    # Who goes away in the midst of a request, with a reset.
    with socket.create_connection(("127.0.0.1", server.gate.port), 60) as gone:
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

    monkeypatch.setattr("azc.report.app.perform", fails)
    answer = send(server, PAUSE)
    assert (answer.status, answer.json["error"]["code"]) == (500, "X001")
    assert "Traceback" not in capfd.readouterr().err


def test_a_fault_in_drawing_is_told_and_gone_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise KeyError("x")

    with stream(server) as events:
        first = version(events)
        with monkeypatch.context() as broken:
            broken.setattr("azc.report.live.read_run", fails)
            server.desk.draw("tanh", 0)
            while (second := version(events)) <= first:
                pass
            answer = ask(server, "/changes?since=0", own(server))
            assert (answer.status, answer.text.split(",")[0]) == (503, "internal error")
        while version(events) <= second:
            pass
        assert ask(server, "/", own(server)).status == 200


def test_a_run_whose_folder_is_gone_is_told(server: Server) -> None:
    with stream(server) as events:
        version(events)
        away = server.live.folder.rename(server.live.folder.with_name("away"))
        version(events)
        for path in ("/", "/rows", "/changes?since=0", "/candidate/1"):
            answer = ask(server, path, own(server))
            assert answer.status == 503
            gone = f"there is no folder {away.parent}/run"
            assert answer.text == f"the run can't be read: {gone}\n"
        assert send(server, PAUSE).json["error"]["code"] == "R035"
        assert not server.live.folder.exists()  # nobody has made it again
        away.rename(server.live.folder)
        version(events)
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
        Server(server.live, server.desk, "127.0.0.1", server.gate.port)
    assert caught.value.filename == f"127.0.0.1:{server.gate.port}"


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.7", "local", "")))


def test_an_address_that_others_reach_goes_by_addresses() -> None:
    gate = Gate("0.0.0.0", 80)
    assert gate.url.startswith("http://localhost:80/")
    assert Gate("::1", 80).address == "http://[::1]:80/"
    for host in ("10.0.0.7:80", "[fe80::1]", "localhost"):
        assert gate.allows(host)
    assert not gate.allows("evil.example")
