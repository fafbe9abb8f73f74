"""Runs where vLLM is: its own parser over command lines, a JSON list of them on standard input.

Prints as JSON what it refuses: the line, and the parser's words.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys

from vllm.entrypoints.cli.serve import ServeSubcommand
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = FlexibleArgumentParser()
serve = ServeSubcommand()
serve.subparser_init(parser.add_subparsers(dest="subparser"))

refused = []
for line in json.load(sys.stdin):
    words = io.StringIO()
    try:
        with contextlib.redirect_stderr(words):
            serve.validate(parser.parse_args(["serve", *line]))
    except (SystemExit, TypeError, ValueError) as error:
        refused.append({"line": line, "why": words.getvalue()[-500:] or str(error)})
print(json.dumps(refused))
