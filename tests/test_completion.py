"""The shell completes commands, options and files."""

import shutil
import subprocess

import pytest

from stream_mapper.__main__ import main

TRY = """
source {script}
complete_it() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _stream_mapper; echo "${{COMPREPLY[@]}}"; }}
complete_it stream-mapper si
complete_it stream-mapper query --ro
complete_it stream-mapper fit --data.pa
complete_it stream-mapper fit --trainer.max_epo
complete_it stream-mapper report --he
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes(tmp_path, capsys):
    main(["--completion", "bash"])
    (tmp_path / "script").write_text(capsys.readouterr().out)
    said = subprocess.run(
        ["bash", "-c", TRY.format(script=tmp_path / "script")], capture_output=True, text=True, check=True
    ).stdout
    assert said.splitlines() == ["simulate", "--row_limit", "--data.path", "--trainer.max_epochs", "--help"]


def test_zsh_completes_by_the_same_functions(capsys):
    main(["--completion", "bash"])
    bash = capsys.readouterr().out
    main(["--completion", "zsh"])
    assert capsys.readouterr().out.endswith(f"bashcompinit\n{bash}")


@pytest.mark.parametrize(("given", "said"), [(["bsh"], "did you mean bash?"), ([], "there are bash, zsh.")])
def test_another_shell_is_refused_in_one_line(given, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--completion", *given])
    assert said in capsys.readouterr().err
