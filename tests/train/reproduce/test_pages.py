"""Pages of experiments: every number comes from a record, and nothing missing is averaged over."""

import csv
import re

import numpy as np
import pytest

from configs.claims import Claim
from configs.scales import NAMES, SCALES, Case, Experiment, load
from train.reproduce.pages import write_pages
from train.reproduce.pages.content import format_number, make_page
from train.reproduce.pages.figure import draw_means, save_png
from train.reproduce.pages.latex import escape, format_tables
from train.reproduce.pages.markdown import format_page
from train.reproduce.pages.spreadsheet import format_csv

PIT = Case("PIT ours 1x4, dig200", "digits:ours", seeds=4, row="PIT 1x4", group="dig200")
ILIF = Case("I-LIF 1x4, dig200", "digits:ilif", seeds=4, row="I-LIF 1x4", group="dig200")
OTHER = Case("QB-LIF 1x4, dig200", "digits:qb_lif", seeds=4, group="dig200", remark="Not printed.")
CITED = Case("TET, dig200", row="LIF 4x1", group="dig200", remark="It is cited.")
ABOVE = Claim("PIT | above I-LIF", PIT.label, ILIF.label, printed=1.03, source="Table 8")
FEWER = Claim("fewer spikes", PIT.label, ILIF.label, "spikes", more=False)
TABLE = Experiment("table8", "Neurons at 4", (PIT, ILIF, OTHER, CITED), (ABOVE, FEWER))


def make_record(accuracy, spikes, slug, **measures):
    runs = {
        str(seed): {
            "accuracy": each,
            "spikes": spikes + seed / 100,
            "loss": 0.25,
            "seconds": 1.5,
            "measures": {key: values[seed] for key, values in measures.items()},
        }
        for seed, each in enumerate(accuracy)
    }
    return {"slug": slug, "runs": runs}


@pytest.fixture
def records():
    return {
        PIT.label: make_record([0.93, 0.94, 0.935, 0.925], 0.6, "pit-01"),
        ILIF.label: make_record([0.92, 0.925, 0.925, 0.92], 0.4, "ilif-02"),
        OTHER.label: make_record([0.9, 0.91, 0.92, 0.93], 0.5, "other-03"),
    }


def write(experiment, records, scale="laptop", seeds=None):
    """Return the page in Markdown."""
    return format_page(make_page(experiment, records, seeds, scale), ["table8.png"])


def read_rows(page):
    """Return the cells of all tables of a page by their first cell."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    return {row[0].strip(): [cell.strip() for cell in row] for row in cells}


def test_row_has_mean_sd_intervals_spikes_printed_value_and_record(records):
    rows = read_rows(write(TABLE, records))
    # The sd of these four is 0.6455 points; Student's quantile for 3 degrees of freedom is 3.182.
    assert rows[PIT.label][1:] == (
        "dig200 | 1 × 4 | 4 | 93.25 | 0.65 | [92.22, 94.28] | 0.615 | [0.594, 0.636]"
        " | 95.86 | −2.61 | [record](records/pit-01.json)"
    ).split(" | ")
    assert rows[OTHER.label][-3:] == ["–", "–", "[record](records/other-03.json)"]
    assert rows["row"][4:9] == ["accuracy, %", "sd", "95 % interval", "spikes", "95 % interval"]


def test_rows_that_are_not_trained_have_the_printed_value_and_a_remark(records):
    page = write(TABLE, records)
    cells = read_rows(page)[CITED.label]
    assert cells[3:] == ["–"] * 6 + ["94.22", "–", "–"]
    assert f"- {CITED.label}: It is cited.\n- " not in page and f"- {CITED.label}: It is" in page


@pytest.mark.parametrize(
    "run, reason", [(None, "seed 3 missing"), ({"failed": "a | b"}, r"seed 3 failed: a \| b")]
)
def test_row_with_a_missing_or_failed_run_has_no_mean(records, run, reason):
    before = read_rows(write(TABLE, records))
    del records[ILIF.label]["runs"]["3"]
    if run:
        records[ILIF.label]["runs"]["3"] = run
    page = write(TABLE, records)
    rows = read_rows(page)
    cells = rows[ILIF.label]
    assert cells[3:9] == ["3 of 4", "missing", "–", "–", "missing", "–"] and cells[10] == "–"
    assert f"\n- {ILIF.label}: {reason}\n" in page
    assert rows[PIT.label] == before[PIT.label] and rows[OTHER.label] == before[OTHER.label]
    verdict = f"**cannot be tested**: {ILIF.label}, {reason}"
    assert rows["fewer spikes"][-1] == verdict


def test_cases_without_a_record_are_missing():
    rows = read_rows(write(TABLE, {}))
    assert rows[PIT.label][3:5] == ["0 of 4", "missing"]
    assert rows[PIT.label][-1] == "–"


def test_claims_have_difference_interval_corrected_p_power_and_verdict(records):
    page = write(TABLE, records)
    cells = read_rows(page)[r"PIT \| above I-LIF"]
    assert cells[1:3] == ["Table 8", "dig200"]
    assert cells[3] == "accuracy, points: PIT ours 1x4 − I-LIF 1x4"
    # 1.0, 1.5, 1.0, 0.5: the mean is 1, the sd 0.408, t = 4.90, p = 0.0163, for two claims.
    assert cells[4:8] == ["+1.00", "[+0.35, +1.65]", "4", "0.0326"]
    assert cells[8:] == ["17 %", "+1.03", "**holds**"]
    spikes = read_rows(page)["fewer spikes"]
    assert spikes[4] == "–" and spikes[-1].startswith("**cannot be tested**: all 4 differences")
    assert "for the\n2 claims here" in page
    assert "Outcomes of the 2 claims: 1 **holds**, 0 **the opposite holds**" in page


def test_page_names_its_command_and_says_when_printed_values_do_not_compare(records):
    small, whole = (write(TABLE, records, scale, 3) for scale in ("laptop", "paper"))
    assert "python -m train.reproduce table8 --scale laptop --seeds 3\n" in small
    assert "does not compare like with like" in small and "like with like" not in whole
    assert read_rows(small)[PIT.label][3] == "3"
    unprinted = TABLE._replace(cases=(OTHER,), claims=())
    assert "like with like" not in write(unprinted, records)


def test_pages_depend_on_their_own_runs_only(records, tmp_path):
    (first := tmp_path / "first").mkdir()
    (second := tmp_path / "second").mkdir()
    files = write_pages(TABLE, records, None, first, scale="laptop")
    assert {file.name for file in files} == {
        f"table8.{kind}" for kind in ("md", "csv", "tex", "png")
    }
    # Another experiment has trained more seeds and measured more; time has passed.
    for record in records.values():
        record["runs"] = {"4": record["runs"]["0"], **dict(reversed(record["runs"].items()))}
        for run in record["runs"].values():
            run.update(seconds=9.5, measures={"energy_uj": 1.0, "levels": [1, 2]})
    write_pages(TABLE, dict(reversed(records.items())), None, second, scale="laptop")
    for file in files:
        assert file.read_bytes() == (second / file.name).read_bytes()


def test_measures_of_the_experiment_are_columns():
    counted = Case("PIT 1x4, full", row="PIT 1x4", group="ResNet18")
    trained = PIT._replace(row="PIT 1x4", seeds=2)
    claim = Claim("less energy", trained.label, trained.label, "energy_uj", more=False)
    table = Experiment("table10", "Energy", (trained, counted), (claim,))
    records = {
        trained.label: make_record([0.9, 0.92], 0.5, "a", energy_uj=[4.0, 4.2], acs_m=[3, 3.0]),
        counted.label: {"slug": "b", "measures": {"macs_m": 1234567.0, "layers": ["x"]}},
    }
    rows = read_rows(write(table, records))
    head = dict(zip(rows["row"], range(99), strict=False))
    assert [key for key in rows["row"] if "," in key][1:] == ["ACs, M", "MACs, M", "energy, µJ"]
    cells = rows[trained.label]
    assert cells[head["ACs, M"]] == "3.000 [3.000, 3.000]"
    assert cells[head["MACs, M"]] == "–" and cells[head["MACs, M"] + 1] == "2.88"
    assert cells[head["energy, µJ"] :][:3] == ["4.100 [2.829, 5.371]", "57.64", "−53.54"]
    assert rows[counted.label][head["MACs, M"]] == "1,234,567"
    assert rows[counted.label][4:9] == ["–"] * 5
    del records[trained.label]["runs"]["1"]["measures"]["energy_uj"]
    assert read_rows(write(table, records))[trained.label][head["energy, µJ"]] == "missing"


def test_page_without_trained_cases_has_no_columns_of_accuracy():
    label = "PIT ResNet18 1x4, CIFAR-10"
    table = Experiment("table5", "Memory", (Case(label, row=label, group="CIFAR-10"),), ())
    rows = read_rows(write(table, {label: {"slug": "m", "measures": {"memory_gb": 2.0}}}, "paper"))
    assert rows["row"][3:7] == ["seeds", "memory, GB", "printed", "difference"]
    assert rows[label][3:7] == ["–", "2.000", "2.43", "−0.4300"]


def test_csv_has_every_row_run_and_claim(records):
    records[ILIF.label]["runs"]["3"] = {"failed": "=1+1"}
    text = format_csv(make_page(TABLE, records, None, "laptop"))
    lines = list(csv.DictReader(text.splitlines()))
    runs = [line for line in lines if line["kind"] == "run"]
    assert len(runs) == 12 and len(lines) == 12 + 4 + 2
    pit = [line for line in runs if line["label"] == PIT.label]
    assert [float(line["accuracy"]) for line in pit] == [93, 94, 93.5, 92.5]
    assert [float(line["spikes"]) for line in pit] == [0.6, 0.61, 0.62, 0.63]
    assert (pit[0]["T"], pit[0]["D"], pit[0]["record"]) == ("1", "4", "records/pit-01.json")
    failed = next(line for line in runs if line["status"].startswith("failed"))
    assert failed["status"] == "failed: =1+1" and failed["accuracy"] == ""
    row = next(line for line in lines if line["label"] == ILIF.label)
    assert (row["seeds"], row["status"], row["accuracy"]) == ("3", "missing", "")
    assert row["accuracy_printed"] == "94.83"
    claim = lines[-1]
    assert claim["verdict"] == "cannot be tested" and claim["measure"] == "spikes"


def test_latex_has_a_cell_for_each_column_and_escapes_texts(records):
    text = format_tables(make_page(TABLE, records, None, "laptop"))
    tables = re.findall(r"\\begin{tabular}{([^\n]*)}\n\\toprule\n(.*?)\\bottomrule", text, re.S)
    assert len(tables) == 2
    for columns, body in tables:
        number = len(re.sub(r"p{.*?\\linewidth}", "p", columns))
        rows = [line for line in body.splitlines() if line != r"\midrule"]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {number}
        assert all(row.endswith(r" \\") for row in rows)
    assert r"PIT ours 1x4 & dig200 & 1 $\times$ 4 & 4 & 93.25 $\pm$ 1.03 & 0.65 & 95.86" in text
    assert "PIT | above I-LIF (accuracy, points: PIT ours 1x4 $-$ I-LIF 1x4) & dig200" in text
    assert text.count("{") == text.count("}") and text.count(r"\begin") == text.count(r"\end")
    assert escape("100 % of_a & b\\c {#1} $x$ ~^ λ − 4×1") == (
        r"100 \% of\_a \& b\textbackslash{}c \{\#1\} \$x\$ \textasciitilde{}\textasciicircum{} "
        r"$\lambda$ $-$ 4$\times$1"
    )


def test_picture_shows_runs_means_and_intervals_of_accuracy_and_spikes(records):
    del records[OTHER.label]["runs"]["0"]
    figure = draw_means(make_page(TABLE, records, None, "laptop"))
    accuracy, spikes = figure.axes
    assert [label.get_text() for label in accuracy.get_yticklabels()] == [
        "PIT ours 1x4",
        "I-LIF 1x4",
        "QB-LIF 1x4",
    ]
    assert (accuracy.get_xlabel(), spikes.get_xlabel()) == ("accuracy, %", "spikes of a neuron")
    runs, interval, mean = accuracy.lines[:3]
    np.testing.assert_allclose(runs.get_xdata(), [93, 94, 93.5, 92.5])
    np.testing.assert_allclose(interval.get_xdata(), [92.223, 94.277], atol=1e-3)
    assert mean.get_xdata() == pytest.approx([93.25]) and spikes.lines[2].get_xdata() == [0.615]
    # Runs, interval and mean of two rows; the third lacks a run.
    assert len(accuracy.lines) == 6
    assert [(text.get_text(), text.get_position()[1]) for text in accuracy.texts] == [
        ("missing", 2)
    ]
    drawn = save_png(figure)
    # No time and no version, and an opaque background for dark pages.
    assert b"tEXt" not in drawn and b"tIME" not in drawn
    assert figure.get_facecolor() == (1, 1, 1, 1)


def test_printed_values_are_drawn_at_paper_scale_only(records):
    marks = {}
    for scale in ("paper", "laptop"):
        lines = draw_means(make_page(TABLE, records, None, scale)).axes[0].lines
        marks[scale] = [float(line.get_xdata()[0]) for line in lines if line.get_marker() == "|"]
    assert marks["laptop"] == [] and marks["paper"][:2] == [95.86, 94.83]


def test_figures_have_the_picture_of_their_measures_and_tables_may_have_both(
    records, tmp_path, monkeypatch
):
    for name, analysis, expected in (
        ("table8", "", ["table8.png", "other.png"]),
        ("figure3", "learning", ["other.png"]),
    ):
        (out := tmp_path / name).mkdir()
        monkeypatch.setattr("train.reproduce.pages.write_figure", lambda *_: [out / "other.png"])
        cases = (PIT._replace(row=""), ILIF._replace(row=""))
        experiment = Experiment(name, "Neurons", cases, (), analysis)
        files = write_pages(experiment, records, None, out, scale="laptop")
        assert [file.name for file in files[3:]] == expected
        shown = re.findall(r"!\[Neurons\]\((.*)\)", (out / f"{name}.md").read_text())
        assert shown == expected


def test_there_is_no_picture_without_a_number():
    table = Experiment("table8", "Neurons", (CITED,), ())
    assert draw_means(make_page(table, {}, None, "paper")) is None


@pytest.mark.parametrize("scale", SCALES)
def test_every_experiment_has_a_page_before_anything_is_trained(scale):
    for name in NAMES:
        page = make_page(load(name, scale), {}, None, scale)
        text = format_page(page, [])
        assert f"train.reproduce {name} --scale {scale}" in text
        assert format_csv(page) and format_tables(page)
        assert all(verdict.outcome == "cannot be tested" for verdict in page.verdicts)


@pytest.mark.parametrize(
    "measure, value, text",
    [
        ("accuracy", 93.456, "93.46"),
        ("first_epoch_accuracy", 93.456, "93.46"),
        ("spikes", 0.4567, "0.457"),
        ("acs_m", 0.0001234, "0.0001234"),
        ("acs_m", 123456.7, "123,457"),
        ("acs_m", -1.5, "−1.500"),
        ("accuracy", -0.001, "0.00"),
        ("acs_m", float("nan"), "–"),
    ],
)
def test_numbers_have_the_digits_of_their_measure(measure, value, text):
    assert format_number(measure, value) == text
