"""A program without telemetry code that fetches a page and calls a model from a module."""

import sys
from urllib.request import urlopen

from tests.nightly.integrations.programs.zero_code_model import Ranker, predict


def main() -> None:
    """Fetch the URL in the first argument, and call the model."""
    with urlopen(sys.argv[1]) as answer:
        size = len(answer.read())
    sys.stdout.write(f"{predict(2, scale=size)} {Ranker().rank([3, 1])} {Ranker.of(4)}\n")


if __name__ == "__main__":
    main()
