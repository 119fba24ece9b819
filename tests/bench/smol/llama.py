"""Greedy replies by llama.cpp, many sequences at a time.

    python -I llama.py JOB.json

Run by a python that has llama-cpp-python; it needs nothing else of this repository. JOB holds what
`Job` says. Printed as JSON: new tokens, the CPU seconds that they took (loading is not among them),
and the tokens of each reply, less the one that ends it.
"""

import json
import sys
import time
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple


class Job(NamedTuple):
    """A GGUF, prompts as rows of tokens, new tokens at most, rows at a time, tokens that end."""

    model: str
    rows: list[list[int]]
    new: int
    sequences: int
    ends: list[int]


class Llama:
    """A model in llama.cpp's own interface, on one thread."""

    def __init__(self, job: Job) -> None:
        # by name, because this repository does not depend on it
        self._c: Any = import_module("llama_cpp")
        self._np: Any = import_module("numpy")
        c = self._c
        self._quiet = c.llama_log_callback(lambda *_: None)
        c.llama_log_set(self._quiet, None)
        c.llama_backend_init()
        self._model = c.llama_model_load_from_file(
            job.model.encode(), c.llama_model_default_params()
        )
        if not self._model:
            raise SystemExit("llama.cpp could not load the model")
        self._words = c.llama_vocab_n_tokens(c.llama_model_get_vocab(self._model))
        room = max(sum(map(len, some)) for some in waves(job.rows, job.sequences))
        told = c.llama_context_default_params()
        told.n_seq_max = job.sequences
        told.n_ctx = job.sequences * (max(map(len, job.rows)) + job.new)
        told.n_batch = room
        told.kv_unified = False  # a sequence attends to its own places, not to masked ones of all
        told.n_threads = told.n_threads_batch = 1
        self._context = c.llama_init_from_model(self._model, told)
        if not self._context:
            raise SystemExit(f"llama.cpp has no room for {job.sequences} sequences at a time")
        self._batch = c.llama_batch_init(room, 0, 1)

    def first(self, rows: list[list[int]]) -> list[int]:
        """The next token of each row, read as the sequences 0, 1, ... from their beginning."""
        self._c.llama_memory_clear(self._c.llama_get_memory(self._context), True)
        self._batch.n_tokens = 0
        for sequence, row in enumerate(rows):
            for place, token in enumerate(row):
                self._add(sequence, place, token, place == len(row) - 1)
        return self._read(len(rows))

    def next(self, going: dict[int, tuple[int, int]]) -> list[int]:
        """The next token of each sequence, given its last token and that one's place."""
        self._batch.n_tokens = 0
        for sequence, (place, token) in going.items():
            self._add(sequence, place, token, True)
        return self._read(len(going))

    def _add(self, sequence: int, place: int, token: int, asked: bool) -> None:
        batch, at = self._batch, self._batch.n_tokens
        batch.token[at], batch.pos[at], batch.logits[at] = token, place, asked
        batch.n_seq_id[at], batch.seq_id[at][0] = 1, sequence
        batch.n_tokens = at + 1

    def _read(self, number: int) -> list[int]:
        if failed := self._c.llama_decode(self._context, self._batch):
            raise SystemExit(f"llama_decode: {failed}")
        logits = self._c.llama_get_logits(self._context)
        found = self._np.ctypeslib.as_array(logits, (number, self._words)).argmax(1)
        return [int(token) for token in found]


def waves(rows: list[list[int]], number: int) -> list[list[list[int]]]:
    """The rows, so many at a time."""
    left = iter(rows)
    return [some for _ in range(0, len(rows), number) if (some := list(islice(left, number)))]


def replies(model: Llama, rows: list[list[int]], new: int, ends: set[int]) -> list[list[int]]:
    """The reply to each row; a sequence that is done leaves the batch."""
    said: list[list[int]] = [[] for _ in rows]
    going = list(range(len(rows)))
    tokens = model.first(rows)
    for step in range(new):
        kept = [(one, token) for one, token in zip(going, tokens, strict=True) if token not in ends]
        for one, token in kept:
            said[one].append(token)
        going = [one for one, _ in kept]
        if step == new - 1 or not going:
            break
        tokens = model.next({one: (len(rows[one]) + step, token) for one, token in kept})
    return said


def main() -> None:
    """Reply to the job's rows, and print what it took."""
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    model, said = Llama(job), []
    model.first(job.rows[:1])  # the file is read into memory
    begun = time.process_time()
    for some in waves(job.rows, job.sequences):
        said += replies(model, some, job.new, set(job.ends))
    seconds = time.process_time() - begun
    print(json.dumps({"tokens": sum(map(len, said)), "seconds": seconds, "replies": said}))


if __name__ == "__main__":
    main()
