"""What a sum over what counts is divided by, to be a metric: functions of `Counted`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # as in `gcsim.results.metrics`, which the command line reads early
    from gcsim.results.counted import Counted


def once(_: "Counted") -> float:
    """Not per anything: the sum itself."""
    return 1.0


def second(of: "Counted") -> float:
    """Per second of the time that counts."""
    return of.span_s


def priced_hour(of: "Counted") -> float:
    """Per hour of the time that counts, where anything has a price."""
    return of.span_s / 3600 if of.requests["usd"].notna().any() else 0.0


def loaded(of: "Counted") -> float:
    """Per second under load that something lasts: how many of it there are at a time."""
    return of.span_s


def request(of: "Counted") -> float:
    """Per counted request."""
    return len(of.requests)


def task(of: "Counted") -> float:
    """Per counted task."""
    return len(of.tasks)


def prompt_token(of: "Counted") -> float:
    """Per prompt token of the counted requests."""
    return float(of.requests["isl"].sum())


def answering(of: "Counted") -> float:
    """Per second that the counted requests take, each by itself."""
    return float(of.requests["e2e_s"].sum())


def slow_token(of: "Counted") -> float:
    """Per counted request and per second of the p90 of their TPOT."""
    slow = of.requests["tpot_s"].quantile(0.9)
    return len(of.requests) * float(slow) if slow > 0 else 0.0


def tasks_per_second(of: "Counted") -> float:
    """Per counted task that completes in a second."""
    return len(of.tasks) / of.span_s


def tasks_per_hour(of: "Counted") -> float:
    """Per counted task that completes in an hour."""
    return tasks_per_second(of) * 3600
