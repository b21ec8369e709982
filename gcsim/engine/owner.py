"""Who is told what becomes of a replica's requests: what `gcsim.engine.cluster` offers."""

from typing import TYPE_CHECKING, Protocol

from gcsim.engine.request import Request

if TYPE_CHECKING:
    from gcsim.engine.replica import Replica


class Owner(Protocol):
    """The callbacks of a replica."""

    def left(self, request: Request, replica: "Replica") -> None:
        """Its last token is out."""

    def admitted(self, request: Request, replica: "Replica") -> None:
        """Its prefill starts."""

    def prefilled(self, request: Request, replica: "Replica") -> bool:
        """Its prompt is computed; True when it decodes elsewhere."""

    def reserved(self, request: Request) -> None:
        """An offered request has its blocks here."""

    def reject(self, request: Request, reason: str) -> None:
        """It can never be run here."""
