"""What the steering table says of all services alike. Pure.

What is missing in its JSON has its default.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from edgenode.steering import checked
from edgenode.steering.checked import TableError


@dataclass(frozen=True, slots=True)
class Outliers:
    """When the relays eject a target by what they see themselves; times in seconds.

    After `failures` in a row (0: never) for `base_time`, which grows with each ejection that
    follows up to `max_time`; never more than `max_share` of a region's workers at once.
    """

    failures: int = 5
    base_time: float = 30.0
    max_time: float = 300.0
    max_share: float = 0.5


DEFAULT_OUTLIERS = Outliers()


@dataclass(frozen=True, slots=True)
class Dialing:
    """How many attempts a service may make beside the first of each connection.

    For each relay worker: a share of its connections, and so many a second besides. `warm_age`: how
    many seconds a connection is kept ready.
    """

    hedge_share: float = 0.2
    hedge_floor: float = 10.0
    warm_age: float = 20.0


DEFAULT_DIALING = Dialing()


@dataclass(frozen=True, slots=True)
class Logging:
    """What the access log has beside the lines of connections that failed.

    `sample`: the share of the other connections that have a line. `long_after`: seconds after
    which one that lives has a line, again and again; 0: never.
    """

    sample: float = 1.0
    long_after: float = 600.0


DEFAULT_LOGGING = Logging()


def outliers_from_json(value: object) -> Outliers:
    """Raises TableError, as the others do."""
    defaults = asdict(DEFAULT_OUTLIERS)
    fields = {**defaults, **checked.mapping(value, "outliers", set(), defaults.keys())}
    outliers = Outliers(
        failures=checked.integer(fields["failures"], "outliers.failures", 0, 2**31 - 1),
        base_time=checked.seconds(fields["base_time"], "outliers.base_time"),
        max_time=checked.seconds(fields["max_time"], "outliers.max_time"),
        max_share=checked.number(fields["max_share"], "outliers.max_share", 1.0),
    )
    if outliers.base_time > outliers.max_time:
        raise TableError("outliers: base_time is above max_time")
    return outliers


def dialing_from_json(value: object) -> Dialing:
    defaults = asdict(DEFAULT_DIALING)
    fields = {**defaults, **checked.mapping(value, "dialing", set(), defaults.keys())}
    return Dialing(
        hedge_share=checked.number(fields["hedge_share"], "dialing.hedge_share", 1.0),
        hedge_floor=checked.number(fields["hedge_floor"], "dialing.hedge_floor", 1e6),
        warm_age=checked.seconds(fields["warm_age"], "dialing.warm_age"),
    )


def logging_from_json(value: object) -> Logging:
    defaults = asdict(DEFAULT_LOGGING)
    fields = {**defaults, **checked.mapping(value, "logging", set(), defaults.keys())}
    return Logging(
        sample=checked.number(fields["sample"], "logging.sample", 1.0),
        long_after=checked.number(fields["long_after"], "logging.long_after", checked.YEAR),
    )
