"""What people and agents do to a run: in the journal, in its rounds, and again after a
kill.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from azc.check.resolve import check_source
from azc.diagnostics import DiagnosticError, RunError, UsageError
from azc.search.acts import Act, NewAct
from azc.search.events import (
    Acted,
    Closed,
    Event,
    Fitted,
    Opened,
    Paused,
    Scored,
    Warming,
)
from azc.search.folder import RunFolder
from azc.search.genome import Genome
from azc.search.journal import Journal
from azc.search.options import EvolveOptions
from azc.search.run import resume
from azc.search.steer import Desk
from azc.search.view import RunView, read_run
from azc.source import Source
from tests.runs import (
    NARROW,
    PROGRAM,
    Killed,
    cut_at,
    result,
    rows,
    run_here,
    scored,
    tiny,
)

OnEvent = Callable[[Event], None]
Go = Callable[..., RunView]

MINE = PROGRAM.replace(
    "model start {",
    "attention mine(q, k, v) {\n    return softmax(scale(q @ k.T)) @ tanh(v)\n}\n\n"
    "model other {",
).replace("            sdpa\n", "            mine\n")
MINE = MINE[: MINE.index("space tiny")]


def mine(text: str = MINE) -> Any:
    return check_source(Source("mine.azg", text))


def words(run: Path) -> list[str]:
    return [act.words for act in read_run(run).acts]


class Hand:
    """Does acts when events come, each once in the life of a run."""

    def __init__(self, run: Path, then: OnEvent = lambda event: None) -> None:
        self.desk = Desk(run, "ana")
        self.then = then

    def __call__(self, event: Event) -> None:
        if isinstance(event, Opened):
            for act in (self.first, self.second)[event.round : event.round + 1]:
                act()
        self.then(event)

    def once(self, said: str, act: Callable[[], Act]) -> None:
        if not any(said in each for each in words(self.desk.folder)):
            act()

    def first(self) -> None:
        self.once("proposes", lambda: self.desk.propose(mine(), note="tanh it"))
        self.once("bans `neg`", lambda: self.desk.draw("neg", 0))
        self.once("conv 5", lambda: self.desk.draw("conv 5", 5))

    def second(self) -> None:
        self.once("budget", lambda: self.desk.budget(12))
        self.once("leaves", lambda: self.desk.draw("neg", 1))
        self.once("stops", lambda: self.desk.stop(2))


@pytest.fixture(scope="module")
def whole(home: Path) -> tuple[RunView, int]:
    """A run that was steered and never killed, and how many events it told."""
    told: list[Event] = []
    options = tiny(home / "corpus.txt", evaluations=9, final_seeds=(1,))
    hand = Hand(home / "whole", told.append)
    return run_here(options, home / "whole", home / "cache", on_event=hand), len(told)


def test_a_proposal_is_in_the_next_round(whole: tuple[RunView, int]) -> None:
    view, _ = whole
    act = view.acts[0]
    assert (act.kind, act.round, act.reason) == ("propose", 1, None)
    assert act.candidate is not None
    candidate = view.candidates[act.candidate]
    assert candidate.mutation == "proposed by ana: tanh it"
    assert candidate.parents == ()
    assert candidate.round == 1
    assert (
        Genome.from_text(candidate.program, "start").key == Genome(mine(), "other").key
    )
    members = [e.candidate for e in view.evaluations if e.round == 1]
    assert members[0] == candidate.id
    # Beside as many as the strategy has.
    assert len(members) == 5
    assert view.lineage(candidate.id) == [candidate]
    assert view.spent == view.options.evaluations == 12


def test_steering_acts_from_the_next_round_on(whole: tuple[RunView, int]) -> None:
    view, _ = whole
    told = {act.words: (act.round, act.reason) for act in view.acts}
    assert told == {
        "ana proposes a program: tanh it": (1, None),
        "ana bans `neg`": (1, None),
        "ana draws `conv 5` 5 times as often": (1, None),
        "ana sets the budget to 12 evaluations": (1, None),
        "ana leaves `neg` to the strategy": (2, None),
        "ana stops candidate 0002": (1, None),
    }
    assert [act.time for act in view.acts] == sorted(act.time for act in view.acts)


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_run_that_is_killed_comes_to_the_same(
    home: Path, tmp_path: Path, whole: tuple[RunView, int], step: int
) -> None:
    view, events = whole
    run = tmp_path / "run"
    options = tiny(home / "corpus.txt", evaluations=9, final_seeds=(1,))
    # Every third event is the last one of a process.
    cuts = iter([*range(3 + step, events, 3), None])
    with pytest.raises(Killed):
        run_here(options, run, home / "cache", on_event=Hand(run, cut_at(2 + step)))
    for _ in cuts:
        try:
            resume(run, cache=home / "cache", on_event=Hand(run, cut_at(3)))
            break
        except Killed:
            continue
    resume(run, cache=home / "cache", on_event=Hand(run))
    assert result(run) == result(view.folder)
    assert words(run) == words(view.folder)
    assert [a.round for a in read_run(run).acts] == [a.round for a in view.acts]


# One kind after the other


def test_a_pause_waits_until_it_is_over(
    go: Go, options: EvolveOptions, tmp_path: Path
) -> None:
    plain = run_here(options, tmp_path / "plain", tmp_path.parent / "cache")
    desk = Desk(tmp_path / "run", "ana")
    told: list[Event] = []

    def on_event(event: Event) -> None:
        told.append(event)
        if isinstance(event, Scored) and event.spent == 2:
            desk.pause()
        if isinstance(event, Paused):
            assert len(scored(tmp_path / "run")) == 2
            desk.go_on()

    view = go(options, on_event=on_event)
    assert sum(isinstance(event, Paused) for event in told) == 1
    assert result(view.folder) == result(plain.folder)


def test_a_run_that_is_continued_is_not_paused(
    go: Go, options: EvolveOptions, home: Path, tmp_path: Path
) -> None:
    desk = Desk(tmp_path / "run", "ana")

    def on_event(event: Event) -> None:
        if isinstance(event, Scored):
            desk.pause()
        if isinstance(event, Paused):
            raise Killed

    with pytest.raises(Killed):
        go(options, on_event=on_event)
    view = resume(tmp_path / "run", cache=home / "cache")
    assert view.is_over
    assert "azc resume continues the run" in words(tmp_path / "run")


@pytest.mark.parametrize(("weights", "budget"), [("shared", 12), ("fresh", 6)])
def test_what_is_stopped_has_failed(
    go: Go, home: Path, tmp_path: Path, weights: str, budget: int
) -> None:
    desk = Desk(tmp_path / "run", "ana")
    trained: list[int] = []

    def on_event(event: Event) -> None:
        if isinstance(event, Opened) and event.round == 1:
            desk.stop(3)  # of the round before: it is nobody's parent from here on
        if isinstance(event, Scored):
            trained.append(event.candidate)
            if event.candidate == 2:
                desk.stop(2)  # scored
                desk.stop(4)  # waits

    options = tiny(
        home / "corpus.txt", round_size=4, evaluations=budget, weights=weights
    )
    view = go(options, on_event=on_event)
    first = {e.candidate: (e.status, e.reason) for e in view.evaluations if not e.round}
    assert first[2] == first[4] == ("failed", "stopped by ana")
    assert 4 not in trained
    assert view.spent == budget
    for number in (2, 4):
        assert all(number not in c.parents for c in view.candidates.values())
        assert all(e.round == 0 for e in view.evaluations if e.candidate == number)
    last = [e for e in view.evaluations if e.candidate == 3 and e.round]
    assert all(e.status == "failed" for e in last)
    entrants = [e.candidate for e in view.entrants.values()]
    assert not {2, 3, 4} & {*entrants}


def test_what_is_stopped_is_no_winner(go: Go, home: Path, tmp_path: Path) -> None:
    """Its score of an earlier round stays, and compares where weights are fresh."""
    out: list[int] = []

    def on_event(event: Event) -> None:
        if isinstance(event, Opened) and event.round == 1:
            best = read_run(tmp_path / "run").winner
            assert best is not None
            assert best != 1
            Desk(tmp_path / "run", "ana").stop(best)
            out.append(best)

    options = tiny(
        home / "corpus.txt", evaluations=5, final_seeds=(), weights="fresh", seed=2
    )
    view = go(options, on_event=on_event)
    scores = {e.candidate: e.score for e in reversed(view.evaluations) if e.score}
    assert min(scores, key=scores.__getitem__) == out[0]
    assert view.winner not in [None, *out]
    assert view.best is not None
    assert (tmp_path / "run" / "best.azg").read_text("utf-8") == view.best.program
    assert view.is_over


def test_the_start_can_not_be_stopped_nor_what_is_not_there(
    go: Go, options: EvolveOptions, tmp_path: Path
) -> None:
    go(options)
    desk = Desk(tmp_path / "run", "ana")
    for number, said in (
        (1, "the start model can't be stopped"),
        (99, "no candidate 99"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            desk.stop(number)
        assert caught.value.code == "U025"
    with pytest.raises(UsageError, match="no `gelu` to vary"):
        desk.draw("gelu", 0)
    with pytest.raises(UsageError) as caught:
        desk.draw("sofmax", 0)
    assert caught.value.help == "did you mean `softmax`?"
    for times in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="a number from 0 to 1000"):
            desk.draw("tanh", times)
    for few in (0, 7, True, 2.5):
        with pytest.raises(UsageError) as caught:
            desk.budget(few)  # type: ignore[arg-type]
        assert caught.value.code == "U022"
    assert read_run(tmp_path / "run").acts == ()


# What is proposed


TWIN = MINE.replace("softmax(scale(q @ k.T)) @ tanh(v)", "softmax(scale(q) @ k.T) @ v")


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (MINE.replace("tanh(v)", "relu(v)"), "AZG416", "relu"),
        (MINE.replace("hidden = 8", "hidden = 16"), "AZG410", "hidden"),
        (MINE.replace("repeat 2", "repeat 3"), "AZG411", "3 layers"),
        (MINE.replace("@ tanh(v)", "@ k @ tanh(v).T"), "AZG202", "result"),
        (MINE.replace("tanh(v)", "v"), "R046", "candidate 0001"),
        (TWIN, "R047", "it computes the same function as candidate 0001"),
        (MINE.replace("tanh(v)", "(v + -v)"), "R048", "can't be trained"),
        (MINE.replace("model other", "attention other"), "AZG", "unexpected"),
        ("attention mine(q) {\n    return q\n}\n", "U102", "no model"),
    ],
)
def test_what_is_of_no_use_is_refused(
    ready: Path, text: str, code: str, said: str
) -> None:
    before = read_run(ready).acts
    kinds = (DiagnosticError, RunError, UsageError)
    with pytest.raises(kinds, match=said) as caught:
        Desk(ready, "ana").propose(mine(text))
    assert caught.value.code.startswith(code)
    assert read_run(ready).acts == before


@pytest.fixture(scope="module")
def ready(home: Path) -> Path:
    """A run that is over."""
    options = tiny(home / "corpus.txt", evaluations=4, final_seeds=())
    run_here(options, home / "ready", home / "cache")
    return home / "ready"


def test_a_run_that_is_over_takes_a_proposal_with_a_larger_budget(
    go: Go, home: Path
) -> None:
    run = go(tiny(home / "corpus.txt", evaluations=4, final_seeds=())).folder
    desk = Desk(run, "an agent")
    act = desk.propose(mine(), parents=[1, 1])
    with pytest.raises(RunError, match="an agent has already proposed this") as caught:
        desk.propose(mine(MINE.replace("other", "another")))
    assert caught.value.code == "R046"
    view = read_run(run)
    assert view.is_over  # the budget is spent
    assert resume(run, cache=home / "none") == view
    desk.budget(8)
    assert not read_run(run).is_over
    view = resume(run, cache=home / "cache")
    assert (view.spent, view.is_over) == (8, True)
    number = view.acts[0].candidate
    assert (view.acts[0].id, number) == (act.id, 5)
    assert view.candidates[5].parents == (1,)
    assert view.evaluations[4].candidate == 5


def test_what_waits_is_looked_at_as_a_round_will_look_at_it(go: Go, home: Path) -> None:
    limits = (("flops", 3800.0),)  # what is proposed below has 3,744
    options = tiny(home / "corpus.txt", evaluations=4, final_seeds=(), limits=limits)
    run = go(options).folder
    desk = Desk(run, "ana")
    long = MINE.replace("tanh(v)", "tanh(tanh(v))")
    with pytest.raises(RunError, match="can't be trained: it has more") as caught:
        desk.propose(mine(long))
    assert caught.value.code == "R048"
    desk.propose(mine())
    equal = MINE.replace("tanh(v)", "-tanh(-v)")
    with pytest.raises(
        RunError, match="the same function as the program that ana has proposed"
    ) as caught:
        Desk(run, "ben").propose(mine(equal))
    assert caught.value.code == "R047"
    assert [act.author for act in read_run(run).acts] == ["ana"]


def test_a_space_that_is_used_up_takes_a_proposal(go: Go, home: Path) -> None:
    options = tiny(home / "corpus.txt", evaluations=5, final_seeds=())
    wide = NARROW.replace("kernel = [3, 5]", "kernel = [3, 5, 7]")
    seen: list[int] = []

    def on_event(event: Event) -> None:
        if isinstance(event, Opened) and not seen:
            seen.append(1)
            Desk(run, "ana").draw("conv 7", 0)

    run = home.parent / "used-up"
    view = run_here(options, run, home / "cache", wide, on_event=on_event)
    assert view.ending == "nothing new was found in the space without what is banned"
    seven = wide.replace("conv(kernel = 3)", "conv(kernel = 7)")
    found = [each.program for each in view.candidates.values()]
    if not any("kernel = 7" in each for each in found):
        Desk(run, "ana").propose(mine(seven[: seven.index("space")]))
        view = resume(run, cache=home / "cache")
        assert view.acts[-1].candidate is not None


def test_what_became_known_meanwhile_is_told(
    go: Go, home: Path, tmp_path: Path
) -> None:
    """Two who propose the same at once: both were right when they looked."""
    acted: list[Acted] = []

    def on_event(event: Event) -> None:
        if isinstance(event, Opened) and event.round == 0:
            act = Desk(tmp_path / "run", "ana").propose(mine())
            with closing(RunFolder(tmp_path / "run").desk()) as journal:
                journal.act(NewAct(act.kind, act.value, "ben"))
        if isinstance(event, Acted):
            acted.append(event)

    view = go(
        tiny(home / "corpus.txt", evaluations=8, final_seeds=()), on_event=on_event
    )
    assert [a.reason for a in view.acts] == [None, "already known"]
    assert [a.reason for a in acted] == [None, "already known"]
    assert view.refused[-1].mutation == "proposed by ben"


def test_no_strategy_puts_in_what_is_banned(go: Go, home: Path, tmp_path: Path) -> None:
    """Not even one of a user's own that draws as it likes."""
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from dataclasses import replace\n"
        "from azc.search.population import Member, Variation, evenly, layout, best\n"
        "class Mine:\n"
        "    def __init__(self, start, space, options):\n"
        "        self.mutate = evenly(replace(space, draws={}), options)\n"
        "        self.best = Member(1, start)\n"
        "    def ask(self, count, rng, known):\n"
        "        made = Variation(self.mutate, most=3)\n"
        "        children = made.children(count - 1, lambda _: self.best, rng, known)\n"
        "        return layout((self.best,), children)\n"
        "    def tell(self, round): pass\n"
        "    def state(self): return 1\n"
        "    def restore(self, state, genome): pass\n"
        "    def display(self): return {}\n"
    )
    banned = {"tanh", "mul", "conv 3"}

    def on_event(event: Event) -> None:
        if isinstance(event, Opened) and event.round == 0:
            for each in sorted(banned):
                Desk(tmp_path / "run", "ana").draw(each, 0)

    options = tiny(
        home / "corpus.txt",
        evaluations=20,
        round_size=10,
        strategy=f"{mine}:Mine",
        final_seeds=(),
    )
    view = go(options, on_event=on_event)
    features = {
        c.id: Genome.from_text(c.program, "start").features
        for c in view.candidates.values()
    }
    assert any(features[c.id] & banned for c in view.candidates.values() if not c.round)
    later = [features[c.id] for c in view.candidates.values() if c.round]
    assert later
    assert not any(each & banned for each in later)
    assert any("is banned" in (each.reason or "") for each in view.refused)


# Where no round is under way


@pytest.fixture(scope="module")
def ended(home: Path) -> RunView:
    """A run with contenders, and a comparison over two seeds."""
    options = tiny(home / "corpus.txt", evaluations=8, contenders=3)
    return run_here(options, home / "ended", home / "cache")


@pytest.mark.parametrize(
    ("moment", "killed"), [("warm-up", True), ("validation", True), ("test", False)]
)
def test_a_pause_acts_between_any_two_trainings(
    home: Path, tmp_path: Path, ended: RunView, moment: str, killed: bool
) -> None:
    run = tmp_path / "run"
    desk = Desk(run, "ana")
    told: list[Event] = []

    def on_event(event: Event) -> None:
        told.append(event)
        where = event.split if isinstance(event, Fitted) else "warm-up"
        trained = isinstance(event, Fitted) or (
            isinstance(event, Warming) and event.step > 0
        )
        if trained and where == moment and not read_run(run).acts:
            desk.pause()
            told.clear()
        if isinstance(event, Paused):
            if killed:
                raise Killed
            desk.go_on()

    if killed:
        with pytest.raises(Killed):
            run_here(ended.options, run, home / "cache", on_event=on_event)
        assert read_run(run).is_paused
        view = resume(run, cache=home / "cache")
    else:
        view = run_here(ended.options, run, home / "cache", on_event=on_event)
    # Nothing is trained between the act and the pause.
    assert [type(event) for event in told[:2]] == [Acted, Paused]
    assert [act.round is None for act in view.acts] == [False, False]
    assert result(run) == result(ended.folder)


def test_a_contender_that_is_stopped_gives_its_place_to_another(
    home: Path, tmp_path: Path, ended: RunView
) -> None:
    first = {fit.entrant for fit in ended.fits if fit.split == "validation"}
    *_, last = sorted(first)
    number = ended.entrants[last].candidate
    assert number is not None
    outcomes = []
    for kill in (False, True):
        run = tmp_path / str(kill)

        def on_event(event: Event, run: Path = run, kill: bool = kill) -> None:
            if isinstance(event, Fitted) and not read_run(run).acts:
                Desk(run, "ana").stop(number)
            if isinstance(event, Acted) and kill:
                raise Killed

        try:
            view = run_here(ended.options, run, home / "cache", on_event=on_event)
        except Killed:
            view = resume(run, cache=home / "cache")
        assert view.is_over
        assert resume(run, cache=home / "none") == view
        trained = {view.entrants[fit.entrant].candidate for fit in view.fits}
        assert number not in trained
        assert len([f for f in view.fits if f.split == "validation"]) == len(first)
        assert view.acts[0].round is not None
        outcomes.append(result(run))
    assert outcomes[0] == outcomes[1]


def test_a_winner_that_is_stopped_is_compared_no_more(
    home: Path, tmp_path: Path, ended: RunView
) -> None:
    run = tmp_path / "run"

    def on_event(event: Event) -> None:
        tested = isinstance(event, Fitted) and event.split == "test"
        if tested and not read_run(run).acts:
            Desk(run, "ana").stop(ended.winner or 0)

    view = run_here(ended.options, run, home / "cache", on_event=on_event)
    assert (view.is_over, view.winner) == (True, ended.winner)
    one, two = view.rows[0].fits
    assert one is not None
    assert two is not None
    assert one.loss == ended.rows[0].losses[0]
    assert (two.status, two.reason) == ("failed", "stopped by ana")
    assert view.rows[1].losses == ended.rows[1].losses


def test_a_budget_given_at_the_end_is_spent_before_it_goes_on(
    home: Path, tmp_path: Path, ended: RunView
) -> None:
    run = tmp_path / "run"

    def on_event(event: Event) -> None:
        if isinstance(event, Fitted) and not read_run(run).acts:
            assert read_run(run).table == ()
            Desk(run, "ana").budget(12)

    view = run_here(ended.options, run, home / "cache", on_event=on_event)
    options = replace(ended.options, evaluations=12)
    whole = run_here(options, tmp_path / "whole", home / "cache")
    assert (view.spent, view.winner) == (12, whole.winner)
    for table in ("evaluation", "place"):  # what was compared first is not
        assert rows(run, table) == rows(whole.folder, table)


# Two who write at once

WRITER = """
import sys
from pathlib import Path
from azc.search.steer import Desk
desk = Desk(Path(sys.argv[1]), sys.argv[2])
for _ in range(40):
    desk.draw("tanh", 2)
"""


def test_others_write_while_the_loop_does(go: Go, home: Path, tmp_path: Path) -> None:
    """The sum over the rows stays right, whoever adds to it."""
    run = tmp_path / "run"
    writers: list[subprocess.Popen[bytes]] = []

    def on_event(event: Event) -> None:
        if isinstance(event, Opened) and not writers:
            for name in ("ana", "ben"):
                command = [sys.executable, "-c", WRITER, str(run), name]
                writers.append(subprocess.Popen(command))
        if isinstance(event, Closed) and event.round == 2:
            for writer in writers:
                assert writer.wait() == 0

    view = go(tiny(home / "corpus.txt", evaluations=20), on_event=on_event)
    assert len(view.acts) == 80
    assert all(act.round is not None for act in view.acts)
    with closing(Journal(run / "journal.sqlite")) as journal:
        journal.check()


def test_acts_are_under_the_seal(ready: Path, tmp_path: Path) -> None:
    import shutil
    import sqlite3

    run = Path(shutil.copytree(ready, tmp_path / "run"))
    Desk(run, "ana").pause()
    read_run(run)
    with closing(sqlite3.connect(run / "journal.sqlite")) as db:
        db.execute("UPDATE act SET author = 'ben'")
        db.commit()
    with pytest.raises(RunError, match="has changed since the run wrote it"):
        read_run(run)


def test_before_a_run_has_begun(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no folder"):
        Desk(tmp_path / "none", "ana").pause()
