"""Prints what a wheel needs, but for torch and its kin: WHEEL."""

import sys
import zipfile
from email.parser import Parser

from pip._vendor.packaging.requirements import Requirement

# The wheel pins a build of torch that is on no public index; the ordinary one runs on the CPU.
OTHERWISE = {"torch", "torchvision", "torchaudio", "torchcodec", "setuptools"}

wheel = zipfile.ZipFile(sys.argv[1])
name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
for text in Parser().parsestr(wheel.read(name).decode()).get_all("Requires-Dist"):
    need = Requirement(text)
    if need.marker and not need.marker.evaluate({"extra": ""}):
        continue
    if need.name.lower() in OTHERWISE:
        continue
    need.marker = None
    print(need)
