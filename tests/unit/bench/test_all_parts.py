"""`make bench`: parts run in processes of their own, none ends the others, and the page has what each found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from bench import __main__ as everything
from bench import first_deploy
from bench.__main__ import PARTS, Outcome, Part, Row, plot, report, store, stored, table

ROWS: list[Row] = [{"positions": 10, "p99, ms": 4.25}, {"positions": 100, "p99, ms": 123.4, "remark": "rest"}]


def part(module: str, **more: Any) -> Part:
    return Part("manager", module, "A title", 60, **more)


def module(directory: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> str:
    (directory / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(directory))
    sys.modules.pop(name, None)
    return name


def test_all_parts_together_take_less_than_half_an_hour() -> None:
    assert sum(each.seconds for each in PARTS) < everything.SECONDS_OF_ALL < 30 * 60
    assert len({each.name for each in PARTS}) == len(PARTS)


def test_rows_are_a_table_with_every_column() -> None:
    assert table(ROWS) == [
        "| positions | p99, ms | remark |",
        "|---|---|---|",
        "| 10 | 4.2 |  |",
        "| 100 | 123 | rest |",
    ]


def test_a_module_without_rows_is_asked_for_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "def main(argv):\n    print('| a |', *argv)\n    return 1\n"
    name = module(tmp_path, monkeypatch, "prints_markdown", text)
    assert everything.measured(part(name, arguments=("--repeats",))) == {"rows": [], "text": "| a | --repeats"}


def test_what_a_module_with_rows_prints_is_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = module(tmp_path, monkeypatch, "has_rows", "def rows():\n    print('beside')\n    return [{'a': 1}]\n")
    assert everything.measured(part(name)) == {"rows": [{"a": 1}], "text": ""}
    assert capsys.readouterr().err == "beside\n"


def test_a_part_of_another_branch_is_left_out() -> None:
    assert not everything.present(part("bench.not_in_this_tree"))
    assert everything.present(part("bench.first_deploy"))


def test_the_page_names_each_command_and_why_a_part_was_not_measured() -> None:
    outcomes = [Outcome(part("m"), ROWS), Outcome(PARTS[0], [], "not done within 9 s")]
    page = report(outcomes, {"manager": Path("manager.png")}, "2026-11-30")
    assert "`python -m bench --only manager`" in page
    assert "![A title](plots/manager.png)" in page
    assert "Not measured: not done within 9 s." in page


def test_the_outcomes_of_other_parts_stay(tmp_path: Path) -> None:
    known = next(each for each in PARTS if each.name == "manager")
    store(tmp_path / "results.json", {"manager": Outcome(known, ROWS, "", 3.0, "text")})
    assert stored(tmp_path / "results.json") == {"manager": Outcome(known, ROWS, "", 3.0, "text")}
    assert stored(tmp_path / "none.json") == {}


def test_a_plot_is_a_png(tmp_path: Path) -> None:
    path = plot(Outcome(part("m", plot=("positions", "p99, ms")), ROWS), tmp_path / "plots")
    assert path is not None
    assert path.read_bytes().startswith(b"\x89PNG")
    assert plot(Outcome(part("m"), ROWS), tmp_path) is None


def test_the_set_up_records_its_steps(tmp_path: Path) -> None:
    record = tmp_path / "setup.times"
    assert first_deploy.rows(record) == []
    record.write_text("Python packages\t61\nengine and images\t90\n")
    assert [(row["step"], row["seconds"]) for row in first_deploy.rows(record)] == [
        ("Python packages", 61),
        ("engine and images", 90),
    ]
