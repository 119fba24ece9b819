"""Small judges that are tuned here, on published human labels, where no large one can be had."""

from typing import Literal

Kind = Literal["harm", "compliance"]
LABELS: dict[Kind, tuple[str, ...]] = {  # by their names in `grounded.sources`
    "harm": ("harmbench_judge_val",),
    "compliance": ("xstest_llama2new", "xstest_mistralguard", "xstest_mistralinstruct"),
}
