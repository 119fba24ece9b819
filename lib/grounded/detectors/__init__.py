"""Detectors of incoherence, held against what is known of a text.

In the invented world the truth of a reply is known. Real text is corrupted in known ways
(`corruptions`, `challenge`), which also shows what judges say of it (`judging`).
"""
