"""Several replies to one prompt: their ids.

A sampled reply stands in the tables under the id of its prompt and STRIDE times the number of its
seed in the study, from 0; so a study with greedy replies has the ids of its prompts. `tables` takes
the two apart.
"""

STRIDE = 1_000_000  # more prompts than a benchmark has; 2,147 seeds fit into the 32 bits of an id


def numbered(prompt: int, sample: int) -> int:
    """The id of a prompt's reply by the seed of that number."""
    return prompt + STRIDE * sample
