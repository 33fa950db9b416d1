"""Check the answer of a deployed service to the sample request.

This file is yours. At every stage the pipeline posts sample_request.json to the service and then runs

    python check.py SAMPLE RESPONSE

with two JSON files. Print one problem per line and exit 1, or print nothing and exit 0. Standard library only: the
check runs outside of the environments of training and scoring.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

# The data set's disease progression lies between 25 and 346; a sound model stays near that.
PLAUSIBLE_PROGRESSION = (0, 450)


def check(request: dict, response: object) -> list[str]:
    """The problems of `response`, one sentence each; empty when it is good."""
    rows = len(request["data"])
    if not isinstance(response, list):
        return [f"the answer is not a list with one prediction per row but {json.dumps(response)[:200]}"]
    problems = []
    if len(response) != rows:
        problems.append(f"the answer has {len(response)} predictions for {rows} rows")
    low, high = PLAUSIBLE_PROGRESSION
    for number, prediction in enumerate(response, start=1):
        # bool is a subclass of int, and Python reads the NaN and Infinity that JSON does not have.
        if isinstance(prediction, bool) or not isinstance(prediction, (int, float)) or not math.isfinite(prediction):
            problems.append(f"prediction {number} is not a finite number but {json.dumps(prediction)[:200]}")
        elif not low <= prediction <= high:
            problems.append(f"prediction {number} is {prediction:g}, outside of the plausible {low} to {high}")
    return problems


def main(sample: Path, response: Path) -> int:
    problems = check(json.loads(sample.read_text("utf-8")), json.loads(response.read_text("utf-8")))
    print("\n".join(problems), end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Check the answer of a deployed service to the sample request.")
    parser.add_argument("sample", type=Path, help="the request, a JSON file")
    parser.add_argument("response", type=Path, help="the answer, a JSON file")
    sys.exit(main(**vars(parser.parse_args())))
