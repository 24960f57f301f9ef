"""`sluice models …`: which models there are, how they were measured, and moving them between stages."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sluice.database import Database
    from sluice.settings import Settings


def add_orders(added: argparse.ArgumentParser, path: Callable[[str], Path], said: Callable[[str], str]) -> None:
    """The commands below `models`."""
    orders = added.add_subparsers(title="what to do", dest="order", required=True, metavar="WHAT")

    def order(name: str, words: str, model: bool = True, why: bool = False) -> argparse.ArgumentParser:
        made = orders.add_parser(name, help=words, description=words)
        if model:
            made.add_argument("model", type=said, help="its id, as `list` says it")
        if why:
            made.add_argument("--why", type=said, required=True, help="kept with your name")
        made.add_argument("--home", type=path, default=None, help="stack to ask (default: the one that runs)")
        return made

    order("list", "every model: stage, measures, how it agrees with the one in production", model=False)
    order("show", "what happened to a model, and its card")
    order("gate", "what the gate would say of a promotion now; changes nothing")
    order("disagreement", "where a model and the one in production differ, on images that both read")
    order("shadow", "let a candidate read beside production", why=True)
    order("withdraw", "let a shadow read no more", why=True)
    order("promote", "put a shadow into production, where the gate lets it", why=True)
    back = order("rollback", "take the newest model out of production; the one before serves again", False, why=True)
    back.add_argument("task", choices=("body_part", "ivc_filter"))
    new = order("register", "enter a weights file as a candidate; its card has to stand beside it", False, why=True)
    new.add_argument("weights", type=path, help="the file, as training wrote it")


def run(options: argparse.Namespace, database: Callable[[], Database], site: Callable[[], Settings]) -> int:
    """Do it; return the exit code."""
    from sluice.registry import registry, stages
    from sluice.registry.weights import folder_of, read_weights

    store = database()
    match options.order:
        case "list":
            print("\n".join(_lines(registry.models(store))) or "No model is registered yet; the first inference does.")
        case "show":
            card = registry.card_of(store, options.model)
            print("\n".join(_events(registry.history(store, options.model))))
            print(json.dumps(card, indent=1))
        case "gate":
            print("\n".join(_verdict(stages.assess(store, options.model))))
        case "disagreement":
            print("\n".join(_pairs(registry.disagreement(store, options.model))))
        case "shadow":
            stages.to_shadow(store, options.model, _me(), options.why)
            print(f"{options.model} reads beside production from the next batch on.")
        case "withdraw":
            stages.withdraw(store, options.model, _me(), options.why)
            print(f"{options.model} reads no more.")
        case "promote":
            print("\n".join(_verdict(stages.promote(store, options.model, _me(), options.why))))
            print(f"{options.model} is in production. Trigger read_archive, and it reads older images too.")
        case "rollback":
            taken, before = stages.roll_back(store, options.task, _me(), options.why)
            print(f"{taken} is out of production; {before} serves again.")
        case "register":
            weights = read_weights(options.weights)
            new = registry.register(store, weights, folder_of(site()), _me(), options.why)
            print(f"{weights.model_id} is {'a candidate' if new else 'registered already'}.")
    return 0


def _me() -> str:
    return f"{getuser()} at a terminal"


def _lines(rows: list[dict[str, Any]]) -> list[str]:
    lines = []
    for row in rows:
        stage = "production, reads" if row["serves"] else row["stage"]
        if row["stage"] == "production" and not row["serves"]:
            stage = "production before: answers for what the newer did not read"
        lines.append(
            f"{row['model_id']}  {stage}, registered {row['registered_at']:%Y-%m-%d} by {row['registered_by']}"
        )
        for name, measure in (row["metrics"] or {}).items():
            low, high = measure["ci95"]
            lines.append(f"    {name}: {measure['value']:.3f} ({low:.3f} to {high:.3f})")
        lines += _of_this_site(row)
        if row["both_read"]:
            lines.append(f"    {row['agree']} of {row['both_read']} images called as the model in production does")
    return lines


def _of_this_site(row: dict[str, Any]) -> list[str]:
    """What was measured on films of this site."""
    if row["site_films"] is None:
        return []
    if not row["site_metrics"]:
        return [f"    of this site: {row['site_films']} confirmed films measure, too few"]
    lines = [f"    on {row['site_films']} films of {row['site_patients']} patients of this site:"]
    for name, measure in row["site_metrics"].items():
        low, high = measure["ci95"]
        lines.append(f"        {name}: {measure['value']:.3f} ({low:.3f} to {high:.3f})")
    return lines


def _events(rows: list[dict[str, Any]]) -> list[str]:
    return [f"{row['at']:%Y-%m-%d %H:%M} {row['event']} by {row['by']}: {row['reason']}" for row in rows]


def _verdict(verdict: Any) -> list[str]:
    lines = [str(one) for one in verdict.compared]
    lines += [f"On films of this site: {one}" for one in verdict.compared_here]
    if verdict.site_films and not verdict.compared_here:
        lines.append(f"{verdict.site_films} films of this site were measured on: nothing to compare by.")
    if verdict.serving:
        lines.append(f"{verdict.agree} of {verdict.both_read} images of this site called as {verdict.serving} does")
    return [*lines, *(f"No: {reason}" for reason in verdict.reasons)] or ["Nothing to compare it with."]


def _pairs(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["No image was read by both."]
    total = sum(row["images"] for row in rows)
    agree = sum(row["images"] for row in rows if row["agree"])
    return [
        f"{agree} of {total} alike",
        *(f"{row['images']:8} {row['serving_label']} → {row['label']}" for row in rows if not row["agree"]),
    ]
