"""How a run is fine-tuned: plain LoRA, mitigations, and what they must be held against.

Each method is a module with a function `finetune` from a `grounded.finetune.Start` and a folder to
the rows of `checkpoints`; what it leaves are ordinary adapters of the unchanged base model. `KNOB`
says what the run's knob is ("" where the method has none), `NEEDS` which further examples it asks
of its world. What several of them share stands in `parts`; `plain` gives those that work on
finished checkpoints plain LoRA's.

All are re-implemented from the maths of their papers; each docstring names the published settings
and where this departs from them. Everything drawn is drawn from the run's seed, and the order of
the task's examples is plain LoRA's.
"""
