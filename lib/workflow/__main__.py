"""What `make` calls: `python -m workflow TARGET STUDY --jobs N`."""

import sys

from workflow.ending import ended

if __name__ == "__main__":
    sys.exit(ended("workflow.command"))
