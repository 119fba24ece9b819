"""What the work of the study `smol` costs on this CPU: `python -m bench.smol [--tiny] [PART ...]`.

By turns in one process, on one thread, a CPU-second: training, replies, capability by likelihood
and verdicts, each here and in another tool on the same work. Loading is not timed. A comparison
whose other tool is not here is left out, and a line says how to add it.
"""

import argparse
import resource
import sys
from collections.abc import Callable

import torch

from bench.smol import judges, likelihood, replies, training
from bench.smol.turns import TINY, LeftOutError, Rates, Sizes
from grounded.public import devices
from grounded.study import Study, load

PARTS: dict[str, Callable[[Study, str, Sizes], Rates]] = {
    "replies": replies.rates,
    "llama": replies.beside_llama,
    "training": training.rates,
    "likelihood": likelihood.rates,
    "tuned": judges.tuned,
    "harmbench": judges.harmbench,
    "md_judge": judges.md_judge,
}


def main() -> None:
    """Print the rates and their ratios, of all parts or of those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--tiny", action="store_true", help="does it run? its rates say nothing")
    told = parser.parse_args()
    if unknown := set(told.parts) - set(PARTS):
        parser.error(f"found {', '.join(sorted(unknown))}, wanted some of {', '.join(PARTS)}")
    torch.set_num_threads(1)
    study = load("smol")
    name = next(iter(study.models))
    dtype = str(devices.of(study.public_model(name))[1]).removeprefix("torch.")
    print(f"{name} in {dtype}, one thread")
    for part in told.parts or PARTS:
        try:
            for line in PARTS[part](study, name, TINY if told.tiny else Sizes()).lines():
                print(line)
        except LeftOutError as why:
            print(f"left out: {why}")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss: bytes there, kilobytes here
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    print(f"most memory of all: {most:.1f} GiB")


if __name__ == "__main__":
    main()
