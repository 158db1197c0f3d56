"""The README's code runs."""

import re
from pathlib import Path

import torch

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
