"""Ctrl-C and SIGTERM end a command within a second, wherever it is, and let it clean up.

Both raise `KeyboardInterrupt`. What Python raises in a callback (of a weak reference, say, of which
loading modules has many) it cannot pass on: it is lost, so it is sent once more a moment later.
"""

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gcsim.errors import Interrupted

AGAIN_S = 0.05


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM cleans up as Ctrl-C does; the exit code is 143. No interrupt is lost."""

    def end(number: int, _: object) -> None:
        raise Interrupted(code=128 + number)

    def lost(what: Any) -> None:
        if not isinstance(what.exc_value, KeyboardInterrupt):
            usual(what)
            return
        number = getattr(what.exc_value, "code", 128 + signal.SIGINT) - 128
        again = threading.Timer(AGAIN_S, _send, (number,))
        again.daemon = True
        again.start()

    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield
        return
    earlier, usual = signal.signal(signal.SIGTERM, end), sys.unraisablehook
    sys.unraisablehook = lost
    try:
        yield
    finally:
        sys.unraisablehook = usual
        signal.signal(signal.SIGTERM, earlier)


def _send(number: int) -> None:
    """A signal to the main thread, which may be asleep."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:  # Windows
        _thread.interrupt_main(signal.Signals(number))
