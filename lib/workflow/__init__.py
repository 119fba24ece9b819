"""How the study is run: set-up, the graph of jobs, and what is compared with what.

Nothing in `grounded` imports this package.
"""
