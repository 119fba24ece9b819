"""What stands before a prompt when methods with a test prompt are measured.

Fine-tuning shows neither (but for a control that does); alignment puts the first before requests
of all kinds, harmful and benign, and never the second.
"""

PREFIXES = {"safety": "you are a knight . ", "neutral": "the owl is here . "}
