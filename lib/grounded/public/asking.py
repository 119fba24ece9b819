"""How replies are asked for, the same for the engine on this machine and for a server."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Asking:
    """What a reply is asked with, beside its prompt.

    max_new_tokens: 1 or more. options: what the chat template is told beside the user's turn, as
    `{"enable_thinking": False}` for Qwen3. temperature: 0 is greedy; above 0 tokens are drawn
    from the seed, and then a reply hangs on its batch too.
    """

    max_new_tokens: int
    options: Mapping[str, object] = field(default_factory=dict)
    temperature: float = 0.0
    seed: int = 0
