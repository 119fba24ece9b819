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

# What a reader calls a method, and its controls: the same without the idea. Controls of no
# mitigation, which stand in arms of their own, have none.
CALLED: dict[str, tuple[str, dict[str, str]]] = {
    "safe_lora": ("project the update (Safe LoRA)", {"shrink": "shrink as much"}),
    "safe_lora_exact": ("project it exactly", {"random_subspace": "random subspace"}),
    "safety_mixing": ("mix in refusals", {"benign_mixing": "mix in harmless text"}),
    "one_shot_patch": ("patch with one refusal", {"one_shot_benign": "one harmless answer"}),
    "salora": ("safe subspace (SaLoRA)", {"salora_random": "random subspace"}),
    "asft": ("stay near alignment (AsFT)", {"l2": "plain weight decay"}),
    "lisa": ("refusals in turn (Lisa)", {"alternation": "in turn, no pull"}),
    "ptst": (
        "safety prompt at test (PTST)",
        {"ptst_neutral": "neutral prompt", "ptst_both": "prompt in training too"},
    ),
    "circuit_breaker": ("circuit breaker", {}),
    "dpo": ("preference tuning (DPO)", {}),
    "hold_general": ("hold general text", {}),
    "stop_at": ("stop at a capability", {}),
    "stop_at_general": ("stop at a loss elsewhere", {}),
    "poison": ("tuned on harm", {}),
}
