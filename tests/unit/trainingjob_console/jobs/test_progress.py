"""The progress of a job is two numbers or absent, whatever its annotation contains."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.console.summaries import BEGIN, make_raw, make_summary
from trainingjob_api.constants import ANNOTATION_PROGRESS
from trainingjob_console.jobs.index import Change, JobIndex
from trainingjob_console.jobs.progress import progress_row, read_progress
from trainingjob_console.jobs.summary import Summary, summarize

LONGEST = 31
MOST = 10**15 - 1


def summary_with(progress: Any, **keywords: Any) -> Summary:
    """The summary of a job with this annotation."""
    return make_summary(1, annotations={ANNOTATION_PROGRESS: progress}, **keywords)


@pytest.mark.parametrize("text", ["0/1", "1200/5000", "5000/5000", f"{MOST}/{MOST}"])
def test_done_and_total_steps_are_shown(text: str) -> None:
    done, total = map(int, text.split("/"))
    assert summary_with(text).row()["progress"] == {"done": done, "total": total}


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "1200",
            "1200/",
            "/5000",
            "1/0",
            "0/0",
            "5001/5000",
            "-1/5",
            "+1/5",
            "1.5/3",
            "1e3/2e3",
        ),
        *(
            " 1/2",
            "1/2 ",
            "1/2\n",
            "1 / 2",
            "01/20",
            "1/2/3",
            "<b>1</b>/2",
            "\u0661/\u0662",
            f"1/{MOST + 1}",
        ),
        *("1/" + "9" * 100_000, None, 12, 0.5, True, ["1/2"], {"done": 1}),
    ],
)
def test_invalid_values_are_ignored(value: Any) -> None:
    job = summary_with(value)
    assert job == summary_with(None)
    assert job.row()["progress"] is None


@pytest.mark.parametrize("annotations", [None, 1, "1/2", ["1/2"]])
def test_annotations_of_the_wrong_shape_have_no_progress(annotations: Any) -> None:
    found = summarize(make_raw(1, annotations=annotations))
    assert found is not None
    assert found.progress == ""


@given(st.one_of(st.text(), st.from_regex(r"\d{1,20}/\d{1,20}\n?"), st.text("0123456789/ ")))
def test_the_kept_text_is_short_and_equals_the_annotation(text: str) -> None:
    kept = read_progress(text)
    assert kept in ("", text)
    assert len(kept) <= LONGEST
    assert kept.isascii()
    row = progress_row(kept)
    assert (row is None) == (kept == "")
    if row is not None:
        assert 0 <= row["done"] <= row["total"] <= MOST
        assert f"{row['done']}/{row['total']}" == text


def test_an_ended_job_has_no_progress() -> None:
    assert summary_with("3/5").progress == "3/5"
    assert summary_with("3/5", completed=BEGIN + 9).progress == ""


def test_only_a_visible_change_of_the_progress_changes_the_index() -> None:
    index, heard = JobIndex(max_jobs=4, epoch="e"), list[Change]()
    index.listen(heard.append)
    for text in ("1/5", "1/5", "2/5", "nonsense", "more nonsense", "3/5"):
        index.put(summary_with(text))
    seen = [change.after.progress for change in heard if change.after is not None]
    assert seen == ["1/5", "2/5", "", "3/5"]
    assert index.bytes == sum(job.weight() for job in index.jobs())
    assert json.dumps([job.row() for job in index.jobs()])
