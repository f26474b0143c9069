"""Loads a report with guidellm itself and computes its figures anew from the requests in it."""

import asyncio
import contextlib
import io
import json
import math
import sys

from guidellm.benchmark.outputs.console import GenerativeBenchmarkerConsole
from guidellm.benchmark.schemas import GenerativeBenchmarksReport
from guidellm.schemas import StatusDistributionSummary as Summary

path = sys.argv[1]
report = GenerativeBenchmarksReport.load_file(path)
raw = json.load(open(path))["benchmarks"][0]
[benchmark] = report.benchmarks
STATUSES = ("successful", "incomplete", "errored")
problems = []


def close(seen, expected):
    # Unix seconds have a microsecond of room in a double: a difference of two has 1e-3 ms.
    return math.isclose(seen, expected, rel_tol=1e-4, abs_tol=2e-3)


def differ(where, seen, expected):
    missing = seen is None or expected is None
    if seen is not expected if missing else not close(seen, expected):
        problems.append(f"{where}: {seen} instead of {expected}")


QUANTILES = {"p01": 0.01, "p25": 0.25, "p50": 0.5, "p90": 0.9, "p999": 0.999}


def quantile(pdf, probability):
    passed = 0.0
    for value, share in pdf:
        passed += share
        if passed >= probability:
            return value
    return pdf[-1][0] if pdf else 0.0


def compare(name, expected):
    written = raw["metrics"][name]
    for status in (*STATUSES, "total"):
        wanted = getattr(expected, status)
        for key in ("mean", "median", "std_dev", "min", "max", "count"):
            differ(f"{name}.{status}.{key}", written[status][key], getattr(wanted, key))
        for key, probability in QUANTILES.items():
            seen = written[status]["percentiles"][key]
            # Where shares add up to the probability itself, rounding decides between two values.
            sides = [quantile(wanted.pdf, probability + side) for side in (-1e-9, 1e-9)]
            if not any(close(seen, side) for side in sides):
                problems.append(f"{name}.{status}.{key}: {seen} instead of {sides}")


# What guidellm computes of each request from its times and token counts.
for status in STATUSES:
    for request, written in zip(getattr(benchmark.requests, status), raw["requests"][status]):
        for key in type(request).model_computed_fields:
            differ(f"request {request.request_id} {key}", written[key], getattr(request, key))

groups = {status: getattr(benchmark.requests, status) for status in STATUSES}
window = {
    "start_time": benchmark.start_time,
    "end_time": benchmark.end_time,
    "include_pdf": True,
}
with_first = {
    status: [r for r in requests if r.time_to_first_token_ms is not None]
    for status, requests in groups.items()
}
with_gaps = {
    status: [r for r in requests if r.inter_token_latency_ms is not None]
    for status, requests in groups.items()
}
with_tokens = {
    status: [r for r in requests if r.time_per_output_token_ms is not None]
    for status, requests in groups.items()
}


def values(name, function, of=groups):
    compare(name, Summary.from_values_function(function=function, include_pdf=True, **of))


values("request_latency", lambda r: r.request_latency)
values("prompt_token_count", lambda r: r.prompt_tokens)
values("output_token_count", lambda r: r.output_tokens or 0)
values("request_streaming_iterations_count", lambda r: r.info.timings.request_iterations)
values("time_to_first_token_ms", lambda r: r.time_to_first_token_ms, with_first)
values(
    "inter_token_latency_ms",
    lambda r: (r.inter_token_latency_ms, r.output_tokens - 1.0),
    with_gaps,
)
values(
    "time_per_output_token_ms",
    lambda r: (r.time_per_output_token_ms, float(r.output_tokens)),
    with_tokens,
)
values(
    "iter_tokens_per_iteration", lambda r: [tokens for _, tokens in r.iter_tokens_timings]
)
rates = Summary.rate_distribution_from_timings_function
compare(
    "requests_per_second",
    rates(function=lambda r: r.request_end_time, **groups, **window),
)
compare(
    "prompt_tokens_per_second",
    rates(function=lambda r: r.prompt_tokens_timing, **groups, **window),
)
compare(
    "request_concurrency",
    Summary.concurrency_distribution_from_timings_function(
        function=lambda r: (r.request_start_time, r.request_end_time), **groups, **window
    ),
)
if problems:
    sys.exit("\n".join(problems[:20]))
# Its own tables can be printed from it.
with contextlib.redirect_stdout(io.StringIO()) as shown:
    asyncio.run(GenerativeBenchmarkerConsole().finalize(report))
if "Request Latency" not in shown.getvalue():
    sys.exit(f"no table of latencies: {shown.getvalue()[:300]}")
totals = benchmark.metrics.request_totals
print(f"loaded {totals.successful} {totals.incomplete} {totals.errored}")
