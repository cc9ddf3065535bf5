"""The last-site guard: what a command may not do to the users of a prefix. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgenode.api.server import LastSite
from edgenode.bgp.lastsite import Judgement, Outlook, not_known
from edgenode.bgp.levels import Level
from edgenode.state import NODE, Intent, IntentKind


def guarded(intents: Iterable[Intent], levels: Mapping[str, Level]) -> list[str]:
    """The announced groups from which intents would move users away.

    Not a degrading towards one neighbor: users come by the others then.
    """
    wanted = [i for i in intents if i.kind is not IntentKind.PAUSED and not i.neighbor]
    names = {intent.group for intent in wanted}
    return [
        name
        for name, level in levels.items()
        if level is not Level.WITHDRAWN and (name in names or NODE in names)
    ]


def refuse_last(known: Mapping[str, Judgement]) -> list[str]:
    """What is not known, as one note. Raises LastSite where something is the last as far as known;
    `known` is by prefix."""
    if last := [each.text for each in known.values() if each.outlook is Outlook.LAST]:
        raise LastSite(
            f"{'; '.join(last)}. Nothing was changed: say --force if their users are to have "
            "nowhere else to go"
        )
    unknown = {p: each.why for p, each in known.items() if each.outlook is Outlook.UNKNOWN}
    return [not_known(list(unknown), "; ".join(dict.fromkeys(unknown.values())))] if unknown else []
