"""How commands answer: text or JSON on stdout, remarks on stderr."""

import json
import sys
from typing import Any


def answer(how: str, text: str, data: Any) -> None:
    """`text` for humans, `data` with -o json."""
    sys.stdout.write(json.dumps(data, indent=2) + "\n" if how == "json" else f"{text}\n")
    sys.stdout.flush()


def remark(text: str) -> None:
    """One line that is not part of the answer, such as a warning."""
    sys.stderr.write(f"{text}\n")
