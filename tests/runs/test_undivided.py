"""Ctrl-C within a step that it must not divide."""

import signal
import threading

import pytest
from run_parts import posix_only

from everanimate_core.runs.undivided import undivided


def test_ctrl_c_counts_at_the_end(ctrl_c_raises):
    done = []
    with pytest.raises(KeyboardInterrupt):
        with undivided():
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)
                done.append("one step")
        done.append("what follows")
    assert done == ["one step", "one step"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_does_not_hide_what_went_wrong(ctrl_c_raises):
    with pytest.raises(KeyboardInterrupt) as caught, undivided():
        signal.raise_signal(signal.SIGINT)
        raise OSError("no room")
    assert repr(caught.value.__context__) == "OSError('no room')"


@posix_only
@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.default_int_handler])
def test_nothing_changes_where_no_ctrl_c_is_seen(ctrl_c_raises, handler):
    signal.signal(signal.SIGINT, handler)
    seen = []

    def block():
        with undivided():
            seen.append(signal.getsignal(signal.SIGINT))

    if handler is signal.SIG_IGN:
        block()
    else:
        thread = threading.Thread(target=block)
        thread.start()
        thread.join()
    assert seen == [handler]
