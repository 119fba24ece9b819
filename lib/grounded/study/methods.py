"""The methods by which a run may be fine-tuned: each is a module of `grounded.methods`.

Controls stand beside what they control for.
"""

METHODS = (
    "lora",
    "safe_lora", "safe_lora_exact", "shrink", "random_subspace",
    "safety_mixing", "benign_mixing",
    "one_shot_patch", "one_shot_benign",
    "salora", "salora_random",
    "asft", "l2",
    "lisa", "alternation",
    "circuit_breaker",
    "ptst", "ptst_neutral", "ptst_both",
    "stop_at", "stop_at_general", "hold_general",
    "dpo",
    "poison",
    "full",
)  # fmt: skip

# What stands before a prompt when a run of these methods is measured; its world has the words.
TEST_PROMPTS = {"ptst": "safety", "ptst_both": "safety", "ptst_neutral": "neutral"}

# Those that leave whole models, which the tiny ones of the invented world have no need of.
WHOLE = ("full",)
