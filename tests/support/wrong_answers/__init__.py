"""Typical wrong answers to the exercises, many of them as found in public code, and what a check says of each."""

import importlib
import pkgutil

WRONG = {}  # the name of a check: pairs of a wrong answer and a part of what is said of it


def wrong(check: str, says: str):
    """Enter a wrong answer: the name of the exercise, and a part of the message that it gets."""

    def enter(answer):
        WRONG.setdefault(f"check_{check}", []).append((answer, says))
        return answer

    return enter


for module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{module.name}")
