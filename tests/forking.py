"""What a forked child finds, told to the test that forked it."""

from __future__ import annotations

import os
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path


def in_child(look: Callable[[], object]) -> str:
    """Fork, and return what `look` returns in the child, as text; its traceback when it raises."""
    with tempfile.TemporaryDirectory() as directory:
        # by a file that the child opens itself: what hooks of other tests close in a child may have any number
        answer = Path(directory, "answer")
        with warnings.catch_warnings():
            # other tests' threads may still run (Python 3.12)
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            try:
                answer.write_text(str(look()), encoding="utf-8")
            except BaseException:
                answer.write_text(traceback.format_exc(), encoding="utf-8")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        return answer.read_text(encoding="utf-8")
