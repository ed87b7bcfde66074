"""What a person sees of a run, on a terminal and in a log."""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.progress import BEGIN, EARLY, HALF, NAN
from training.report.tables import LapRow, duration, laps_table
from training.run.progress_display import Display, live_table

SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from tests.support.progress import BEGIN, HALF
from training.report.tables import laps_table
from training.run.progress_display import Display
with Display() as display:
    display.say("the run begins")
    display.update(BEGIN)
    display.say("a key is missing")
    print("somebody prints")
    display.update(HALF)
display.say("the run is over")
"""


class Clock:
    """A clock that is moved by hand."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def plain() -> tuple[Display, Clock, io.StringIO]:
    file, clock = io.StringIO(), Clock()
    return Display(Console(file=file, highlight=False), clock), clock, file


def in_a_terminal(**environment: str) -> str:
    """Run the script in a process of its own with a terminal and return what reaches the terminal."""
    ours, theirs = pty.openpty()
    script = SCRIPT.format(root=str(Path(__file__).parents[1]))
    env = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=Path(__file__).parent.parent,
        env={**env, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30", **environment},
    )
    os.close(theirs)
    output = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the way Linux says that the other end is closed
            break
        if not part:
            break
        output += part
    os.close(ours)
    assert process.wait() == 0, output.decode()
    return output.decode()


def without_escapes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


# --- a log ---
def test_a_log_gets_one_line_every_ten_seconds_and_the_last_state() -> None:
    display, clock, file = plain()
    with display:
        for second in range(26):
            clock.now_s = float(second)
            display.update(HALF._replace(step=second))
    steps = [re.search(r"step ([0-9]+) of", line) for line in file.getvalue().splitlines()]
    assert [int(found[1]) for found in steps if found] == [0, 10, 20, 25]


def test_a_line_of_a_log_tells_everything_in_plain_text() -> None:
    display, _, file = plain()
    with display:
        display.update(HALF)
    assert file.getvalue() == (
        "1:00 50 % | step 150,000 of 300,000 | 2,500 steps/s | left 1:00 | reward 58.3 | laps 1,212 | "
        "best 14.21 s | crashes 4 % | saved step 100,000, 0:12 ago | kept 58/60 laps, 4.3 m/s at step 41,000\n"
    )


def test_what_is_not_known_yet_is_a_dash() -> None:
    display, _, file = plain()
    with display:
        display.update(BEGIN)
    assert "nan" not in file.getvalue()
    assert "reward – | laps 0 | distance – | crashes – | saved none yet | kept none yet" in file.getvalue()


def test_before_the_first_lap_a_line_tells_how_far_the_car_comes() -> None:
    display, _, file = plain()
    with display:
        display.update(EARLY)
    assert "reward 6.9 | laps 0 | distance 12 m, 10 % of a lap | crashes 100 % |" in file.getvalue()
    assert "best" not in file.getvalue()


def test_episodes_of_a_checkpoint_that_knows_no_lap_lengths_are_told_in_metres() -> None:
    display, _, file = plain()
    with display:
        display.update(EARLY._replace(agents=(EARLY.agents[0]._replace(lap_share=NAN),)))
    assert "| distance 12 m | crashes 100 % |" in file.getvalue()


def test_each_of_several_agents_has_its_distance_until_it_has_a_lap() -> None:
    both = HALF._replace(agents=(*HALF.agents, *EARLY.agents))
    display, _, file = plain()
    with display:
        display.update(both)
    first, second = [line for line in file.getvalue().splitlines() if line.startswith("  agent")]
    assert "best 14.21 s" in first
    assert "distance 12 m, 10 % of a lap" in second
    tables = [io.StringIO() for _ in range(2)]
    for progress, table in zip((both, both._replace(agents=EARLY.agents * 2)), tables, strict=True):
        Console(file=table, width=100).print(live_table(progress))
    assert "best lap" in tables[0].getvalue()
    assert "best lap" not in tables[1].getvalue()
    assert tables[1].getvalue().count("12 m, 10 % of a lap") == 2


def test_long_lines_of_a_log_stay_in_one_piece_and_brackets_are_text() -> None:
    display, _, file = plain()
    long = "points are kept in [bold]runs[/bold] " + "x" * 300
    display.say(long)
    assert file.getvalue() == long + "\n"


def test_the_display_says_when_figures_are_worth_working_out() -> None:
    display, clock, _ = plain()
    with display:
        assert display.due
        display.update(HALF)
        assert not display.due
        clock.now_s = 10.0
        assert display.due


# --- a terminal ---
@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_of_any_usual_width_shows_how_far_a_car_comes_before_its_first_lap(width: int) -> None:
    file = io.StringIO()
    Console(file=file, width=width).print(live_table(EARLY))
    text = file.getvalue()
    assert "distance" in text
    assert "12 m, 10 % of a lap" in text
    assert "best lap" not in text
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= width


def test_a_terminal_shows_a_table_with_every_figure_and_what_was_said_stays_above_it() -> None:
    text = without_escapes(in_a_terminal())
    final = text[text.rindex("50 %") :]
    for figure in ("150,000 of 300,000", "2,500 steps/s", "1:00", "58.3", "1,212", "14.21 s", "4 %"):
        assert figure in final
    assert "step 100,000, 0:12 ago" in final
    assert "58/60 laps, 4.3 m/s at step 41,000" in final
    assert text.index("a key is missing") < text.index("somebody prints") < text.rindex("50 %")
    assert text.rindex("the run is over") > text.rindex("50 %")


def test_once_settled_the_table_is_not_drawn_again_below_what_follows() -> None:
    file = io.StringIO()
    display = Display(Console(file=file, force_terminal=True, force_interactive=True, width=100), Clock())
    with display:
        display.update(HALF)
        display.settle()
        drawn = file.getvalue().count("150,000 of 300,000")
        display.say("now the laps")
    assert file.getvalue().count("150,000 of 300,000") == drawn
    assert without_escapes(file.getvalue()).endswith("now the laps\n")


def test_a_terminal_gets_its_cursor_back() -> None:
    output = in_a_terminal()
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l")


def test_colours_are_used_but_not_where_no_color_is_set() -> None:
    colours = re.compile(r"\x1b\[[0-9;]*\b(3[0-7]|9[0-7]|38;[0-9;]+)[0-9;]*m")
    assert colours.search(in_a_terminal())
    assert colours.search(in_a_terminal(NO_COLOR="1")) is None


def test_a_terminal_that_can_do_nothing_gets_plain_lines() -> None:
    output = in_a_terminal(TERM="dumb")
    assert "\x1b" not in output
    assert "step 150,000 of 300,000 | 2,500 steps/s" in " ".join(output.split())


def test_a_terminal_is_redrawn_at_most_twice_a_second() -> None:
    file, clock = io.StringIO(), Clock()
    display = Display(Console(file=file, force_terminal=True, force_interactive=True, width=100), clock)
    with display:
        for i in range(1001):
            clock.now_s = i / 100
            display.update(HALF._replace(step=i))
        drawn = file.getvalue().count(" of 300,000")
    assert drawn == 21


def test_an_error_leaves_the_last_state_on_the_screen() -> None:
    display, clock, file = plain()

    def burn() -> None:
        with display:
            display.update(BEGIN)
            clock.now_s = 1.0
            display.update(HALF)
            raise OSError("the disk burns")

    with pytest.raises(OSError, match="burns"):
        burn()
    assert "step 150,000 of 300,000" in file.getvalue()


# --- how far, how long ---
@pytest.mark.parametrize(
    ("change", "done", "left_s"),
    [
        ({}, 0.5, 60.0),
        ({"elapsed_s": 210.0}, 0.875, 30.0),
        ({"limit_s": None}, 0.5, 60.0),
        ({"limit_s": None, "steps_per_s": 0.0}, 0.5, None),
        ({"steps_per_s": 0.0}, 0.5, 180.0),
        ({"step": 310_000}, 1.0, 0.0),
        ({"elapsed_s": 250.0}, 1.0, 0.0),
    ],
)
def test_a_run_ends_by_steps_or_by_time_whichever_comes_first(
    change: dict[str, float], done: float, left_s: float | None
) -> None:
    progress = HALF._replace(**change)
    assert progress.done == done
    assert progress.left_s == left_s


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (59.6, "1:00"),
        (61, "1:01"),
        (3600, "1:00:00"),
        (360_000, "100:00:00"),
        (None, "–"),
        (NAN, "–"),
    ],
)
def test_a_time_span_reads_as_on_a_clock(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


# --- laps ---
ROWS = [
    LapRow("generated-1", "policy", 10, 10, 14.21, 14.5, 6.91, 8.0),
    LapRow("generated-1", "follow-the-gap", 9, 10, 20.21, 21.5, 5.11, 7.0),
    LapRow("generated-1001", "policy", 0, 100, NAN, NAN, 3.91, 8.0, unseen=True),
]


@pytest.mark.parametrize("width", [76, 80, 120])
def test_the_table_of_laps_shows_every_figure_at_any_usual_width(width: int) -> None:
    file = io.StringIO()
    laps_table("Laps of the kept policy", ROWS, Console(file=file, width=width))
    text = file.getvalue()
    assert "…" not in text
    for figure in ("10/10", "9/10", "0/100", "14.21", "14.50", "6.91", "8.00", "20.21", "21.50", "5.11"):
        assert figure in text
    assert max(len(line) for line in text.splitlines()) <= width


def test_a_track_is_named_once_and_one_that_training_never_saw_is_marked() -> None:
    file = io.StringIO()
    laps_table("Laps", ROWS, Console(file=file, width=120))
    lines = file.getvalue().splitlines()
    assert sum("generated-1 " in line for line in lines) == 1
    assert sum("generated-1001 unseen" in line for line in lines) == 1
    assert "nan" not in file.getvalue()
