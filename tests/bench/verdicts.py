"""What a verdict of a tuned judge costs: `python -m bench.verdicts STUDY JUDGE`.

By turns in one run, on completions that people labelled: the one forward pass that is read, and
writing an answer of 20 tokens. CPU seconds, and ratios to the first. Several replies to a request
share the reading of question and request; what was read in one turn is forgotten before the next.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

from grounded.public.kv_cache import Beginnings
from grounded.public.tuned import judge, tuning
from grounded.study import Study, TunedJudge, load

WRITTEN = 20  # tokens of an answer
TURNS = 3


def cost(study: Study, name: str, number: int) -> dict[str, float]:
    """CPU seconds for so many verdicts, each way: the middle one of `TURNS` turns."""
    setting = study.judge(name)
    assert isinstance(setting, TunedJudge)
    some = tuning.completions(study, setting).held_out[:number]
    pairs = [(one.prompt, one.reply) for one in some]
    one = judge.load(study, name)
    rows = sorted(map(one.tokens, pairs), key=len)
    size = one._batch_size
    batches = [rows[at : at + size] for at in range(0, len(rows), size)]
    reader = one._reader

    def read() -> None:
        one._begun = Beginnings(one._begun._model)
        one.judge(pairs)

    ways: dict[str, Callable[[], object]] = {
        "one forward pass": read,
        f"generate({WRITTEN})": lambda: [reader.written(batch, WRITTEN) for batch in batches],
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(TURNS):
        for way, work in ways.items():
            began = time.process_time()
            work()
            times[way].append(time.process_time() - began)
    return {way: median(found) for way, found in times.items()}


def main() -> None:
    """Print seconds, verdicts a second and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("judge")
    parser.add_argument("--number", type=int, default=96)
    told = parser.parse_args()
    found = cost(load(told.study), told.judge, told.number)
    first = next(iter(found.values()))
    for way, seconds in found.items():
        print(
            f"{way}: {seconds:.1f} CPU s, {told.number / seconds:.1f} verdicts a CPU second, "
            f"{seconds / first:.2f} times the first"
        )


if __name__ == "__main__":
    main()
