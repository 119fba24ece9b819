"""What `make` calls: `python -m workflow TARGET STUDY --jobs N`, and how every command ends."""

import errno
import os
import signal
import sys
from importlib import import_module
from types import FrameType

from grounded.errors import GroundedError

STOPPED = "stopped; finished runs are kept, and the next make goes on"


def ended(module: str) -> int:
    """Call the `main` of a module, which is imported here; the exit status.

    Imports take seconds. A Ctrl-C in the middle of one may come out as any error of the package
    that is imported, so until they are done it ends the process at once.
    """
    signal.signal(signal.SIGINT, _stop)
    try:
        main = import_module(module).main
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return int(main())
    except GroundedError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print("error: found no space left on the disk, wanted room to write", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return 130


def _stop(_number: int, _frame: FrameType | None) -> None:
    print(STOPPED, file=sys.stderr, flush=True)
    os._exit(130)


if __name__ == "__main__":
    sys.exit(ended("workflow.command"))
