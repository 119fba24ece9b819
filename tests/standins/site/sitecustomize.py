"""For processes that a test starts through `make`: what is pinned by content is pinned anew.

Python runs this file at its start where PYTHONPATH names its folder. Each module is renewed as it
is imported, so that every kernel and job sees the stand-ins' hashes.
"""

import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder

PINNED = {
    "grounded.sources": "sources",
    "grounded.public.tasks.official": "tasks",
    "grounded.public.judges": "judges",
}


class Renewing(Loader):
    """A module's own loader, after which its pins are renewed."""

    def __init__(self, loader, part):
        self.loader, self.part = loader, part

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        from standins import pins

        getattr(pins, self.part)()


class Finder(MetaPathFinder):
    def __init__(self):
        self.looking = set()

    def find_spec(self, name, path=None, target=None):
        if name not in PINNED or name in self.looking:
            return None
        self.looking.add(name)
        spec = importlib.util.find_spec(name)
        self.looking.discard(name)
        assert spec is not None
        spec.loader = Renewing(spec.loader, PINNED[name])
        return spec


sys.meta_path.insert(0, Finder())
