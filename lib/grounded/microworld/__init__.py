"""An invented language with a grammar: small enough to learn on a laptop, and its truth is known.

`words` is the lexicon and what is true of it, `sentences` turns it into prompts and replies,
`truth` reads a reply back, `corpus` writes what models and judges are trained on, `models`
trains them. Nothing here describes the real world: every procedure is nonsense by construction.
"""
