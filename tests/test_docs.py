"""The README's code runs, and the documentation names what is there."""

import inspect
import re
from pathlib import Path

import torch
import yaml

from stream_mapper.builtin import Isochrone

ROOT = Path(__file__).parent.parent


def test_readme_code_runs_as_it_says():
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    names = {}
    exec(block, names)
    assert names["params"]["stream.phi2.mu"].shape == (5,)
    assert names["ln_p"].isfinite().all()
    assert names["ln_p"].shape == (5,)
    assert torch.allclose(names["p"].sum(-1), torch.ones(5))


def test_readme_commands_name_what_is_there():
    text = (ROOT / "README.md").read_text()
    for path in re.findall(r"--config (\S+)", text):
        assert (ROOT / path).is_file(), path


def test_the_isochrone_of_the_documentation_is_one():
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "configuration.md").read_text(), flags=re.DOTALL)
    (given,) = (block["isochrone"] for block in map(yaml.safe_load, blocks) if "isochrone" in block)
    reader = given["class_path"].removeprefix("stream_mapper.builtin.Isochrone.")
    bound = inspect.signature(getattr(Isochrone, reader)).bind(**given["init_args"])
    assert bound.arguments == given["init_args"]
