"""How a run is fine-tuned: plain LoRA, mitigations, and what they must be held against.

Each method is a module with a function `finetune` from a `grounded.finetune.Start` and a folder to
the rows of `checkpoints`; what it leaves are ordinary adapters of the unchanged base model.
"""
