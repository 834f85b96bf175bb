"""Everything that a person or a language model needs to propose a program to a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from azc.ops.contract import Op
from azc.ops.table import load_ops, signatures
from azc.search.acts import draws, limits_after
from azc.search.folder import RunFolder
from azc.search.genome import space_features
from azc.search.records import START, Candidate, Evaluation, ranked
from azc.search.refused import Refused, refused_reason
from azc.search.view import RunView

__all__ = ["archive", "fate"]


def archive(view: RunView, display: Mapping[str, str]) -> dict[str, Any]:
    """Return everything that is needed to propose a program, as a JSON object.

    `display` holds the values that the strategy shows after the last round. The fields
    are:

    `over`: whether the run is complete. `paused`: whether it is paused. `evaluations`:
    spent, budget. `data`; `unit`: what losses, in nats, are averaged over. `space`:
    name, model (the model that a program has to vary), program (the text of both),
    operations (those that may
    vary: name, meaning, types, attributes). `draws`: by feature, the factor by which it
    is drawn more often, 0 if it is banned. `limits`: by objective, the limit on
    candidates from the next round on. `strategy`: name, display after the last round.
    `candidates`: id, parents, round (from 1) of creation, mutation, program, fate
    (start, winner, parent, scored, failed or waiting), scores (round, status, score for
    a search by one number, scores by objective, reason), place in the last round in
    which it was scored, alone (steps, seed, split, loss: training from scratch).
    `line`: the ids from the start model to the best. `refused`: mutation, parents, why
    (known, equal or fault), reason, same (the candidate that it is equal to, or null).
    `acts`: id, time, author, kind, words, round (from 1, null while it is pending),
    candidate, reason (why it was not applied).
    """
    run = RunFolder(view.folder)
    config = run.read()
    _, space = run.space(config)
    known = load_ops()
    limits = limits_after(view.acts, view.options.limits)
    keys = {c.function: c.id for c in view.candidates.values()}
    keys |= {c.key: c.id for c in view.candidates.values()}
    return {
        "over": view.is_over,
        "paused": view.is_paused,
        "evaluations": {"spent": view.spent, "budget": view.options.evaluations},
        "data": view.options.data,
        "unit": view.unit,
        "space": {
            "name": view.space,
            "model": view.model,
            "program": config["program"],
            "operations": [_operation(known[op]) for op in sorted(space.ops or ())],
        },
        "draws": {
            feature: draws(view.acts).get(feature, 1.0)
            for feature in space_features(space)
        },
        "limits": dict(sorted(limits, key=lambda each: -each[1])),  # the least of two
        "strategy": {
            "name": view.options.strategy,
            "display": dict(display),
        },
        "candidates": _candidates(view),
        "line": [each.id for each in view.lineage(view.winner or START)]
        if view.candidates
        else [],
        "refused": [_refused(each, keys) for each in view.refused],
        "acts": [
            {
                "id": act.id,
                "time": act.time,
                "author": act.author,
                "kind": act.kind,
                "words": act.words,
                "round": None if act.round is None else act.round + 1,
                "candidate": act.candidate,
                "reason": act.reason,
            }
            for act in view.acts
        ],
    }


def _operation(op: Op) -> dict[str, Any]:
    types = [
        f"{', '.join(map(str, operands))} -> {result}"
        for result, rows in signatures().items()
        for name, operands in rows
        if name == op.name
    ]
    attributes = [
        {
            "name": each.name,
            "meaning": each.doc,
            "from": each.minimum,
            "to": each.maximum,
        }
        for each in op.attrs
    ]
    return {
        "name": op.name,
        "meaning": op.doc,
        "types": types,
        "attributes": attributes,
    }


def _candidates(view: RunView) -> list[dict[str, Any]]:
    rounds: dict[int, list[Evaluation]] = defaultdict(list)
    for evaluation in view.evaluations:
        rounds[evaluation.round].append(evaluation)
    places = {
        number: {e.candidate: place for place, e in enumerate(ranked(found), 1)}
        for number, found in rounds.items()
    }
    alone: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for fit in view.fits:
        candidate = view.entrants[fit.entrant].candidate
        if candidate is not None:
            row = {"steps": fit.steps, "seed": fit.seed, "split": fit.split}
            alone[candidate].append({**row, "loss": fit.loss})
    parents = {parent for each in view.candidates.values() for parent in each.parents}

    def described(each: Candidate) -> dict[str, Any]:
        mine = view.by_candidate[each.id]
        done = [e for e in mine if e.score is not None]
        return {
            "id": each.id,
            "parents": list(each.parents),
            "round": each.round + 1,
            "mutation": each.mutation,
            "program": each.program,
            "fate": fate(
                each.id, view.winner, [e.status for e in mine], each.id in parents
            ),
            "scores": [
                {
                    "round": e.round + 1,
                    "status": e.status,
                    "score": e.score,
                    "scores": e.scores and dict(e.scores),
                    "reason": e.reason,
                }
                for e in mine
            ],
            "place": places[done[-1].round][each.id] if done else None,
            "alone": alone[each.id],
        }

    return [described(each) for each in view.candidates.values()]


def fate(
    number: int, winner: int | None, statuses: Collection[str], has_children: bool
) -> str:
    """Return the state of a candidate in a word, from the statuses of its
    evaluations.
    """
    if number == winner:
        return "winner"
    if number == START:
        return "start"
    if "failed" in statuses:
        return "failed"
    if "done" not in statuses:
        return "waiting"
    return "parent" if has_children else "scored"


def _refused(each: Refused, keys: Mapping[str, int]) -> dict[str, Any]:
    return {
        "mutation": each.mutation,
        "parents": list(each.parents),
        "why": each.why,
        "reason": refused_reason(each),
        "same": keys.get(each.same or ""),
    }
