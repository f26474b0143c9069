"""Reads exports with llm-d-benchmark's own package (llmd-benchmark-report) and prints, as one JSON
list, the Benchmark Report that it makes of each: `convert.py TOOL VERSION FILE ...`, where the tool
`report` is a Benchmark Report already."""

import contextlib
import io
import json
import sys

import yaml
from llmd_benchmark_report import cli, core


def converted(tool, version, path):
    if tool == "report":
        with open(path) as file:
            report = core.load_benchmark_report(yaml.safe_load(file))
        assert report.version == version, report.version
        return yaml.safe_load(report.get_yaml_str())
    sys.argv = ["benchmark-report", "-w", tool, "-b", version, path]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        cli.main()
    return yaml.safe_load(said.getvalue())


asked = sys.argv[1:]
reports = [converted(*asked[at : at + 3]) for at in range(0, len(asked), 3)]
# JSON has no words for what is not finite.
plain = json.loads(json.dumps(reports, default=str), parse_constant=str)
print(json.dumps(plain))
