"""From tables to numbers: counts, intervals, agreement, regressions. The unit is the run."""

from grounded.statistics.agreement import measures_by_run
from grounded.statistics.frames import capability, harmful_benchmarks, pooled, verdicts, with_base
from grounded.statistics.intervals import (
    bootstrap,
    mean_interval,
    rates_by_run,
    wilson,
)
from grounded.statistics.paired import (
    capability_pairs,
    changes,
    conclusion,
    incoherence_pairs,
    verdict_pairs,
)
from grounded.statistics.regressions import (
    Line,
    band,
    binomial,
    left_out_r2,
    line,
    ols,
    summary,
    terms,
)

__all__ = [
    "Line",
    "band",
    "binomial",
    "bootstrap",
    "capability",
    "capability_pairs",
    "changes",
    "conclusion",
    "harmful_benchmarks",
    "incoherence_pairs",
    "left_out_r2",
    "line",
    "mean_interval",
    "measures_by_run",
    "ols",
    "pooled",
    "rates_by_run",
    "summary",
    "terms",
    "verdict_pairs",
    "verdicts",
    "wilson",
    "with_base",
]
