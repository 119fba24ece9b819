"""What real models are fine-tuned on, and what their capability is measured with.

`examples` is one record and the draw of train and test, `fetching` brings the files and reads
their rows, `official` knows the five data sets of the paper (arXiv 2606.03648), `own` a user's.
"""

from grounded.public.tasks.examples import Example, TaskData
from grounded.public.tasks.official import TASKS, Task, load
from grounded.public.tasks.own import load as load_own

__all__ = ["TASKS", "Example", "Task", "TaskData", "load", "load_own"]
