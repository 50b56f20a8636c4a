"""The parser of the emulator's log, on output of RIE 1.170.0 and on random text."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from samovar.local import rie
from samovar.local.rie import FunctionError, Init, Report, folded, parse, readable

STDERR = """\
22 Nov 2026 05:06:41,082 [INFO] (rapid) INIT START(type: on-demand, phase: init)
22 Nov 2026 05:06:41,082 [INFO] (rapid) The extension's directory "/opt/extensions" does not exist.
22 Nov 2026 05:06:41,166 [INFO] (rapid) INIT RTDONE(status: success)
22 Nov 2026 05:06:41,166 [INFO] (rapid) INIT REPORT(durationMs: 83.329000)
22 Nov 2026 05:06:41,166 [INFO] (rapid) INVOKE START(requestId: de812ba2)
22 Nov 2026 05:06:41,167 [INFO] (rapid) INVOKE RTDONE(status: success, produced bytes: 0, duration: 1.335000ms)
22 Nov 2026 05:06:41,201 [INFO] (rapid) INVOKE START(requestId: 154c1e13)
22 Nov 2026 05:06:43,606 [ERROR] (rapid) Invoke failed error=errResetReceived InvokeID=154c1e13
"""
STDOUT = """\
START RequestId: de812ba2 Version: $LATEST
hi 1
END RequestId: de812ba2
REPORT RequestId: de812ba2\tInit Duration: 0.05 ms\tDuration: 84.92 ms\tBilled Duration: 85 ms\tMemory Size: 128 MB\
\tMax Memory Used: 128 MB\t
START RequestId: 154c1e13 Version: $LATEST

two\rlines, no newlineEND RequestId: 154c1e13
REPORT RequestId: 154c1e13\tDuration: 2000.00 ms\tBilled Duration: 2000 ms\tMemory Size: 128 MB\
\tMax Memory Used: 128 MB\t
"""
FAILED_INIT = """\
(rapid) INIT START(type: on-demand, phase: init)
(rapid) INIT RTDONE(status: error)
(rapid) INIT REPORT(durationMs: 34.695000)
(rapid) INIT START(type: on-demand, phase: invoke)
(rapid) INIT REPORT(durationMs: 0.045000)
(rapid) INVOKE START(requestId: 10099886)
(rapid) INIT START(type: on-demand, phase: invoke)
"""


def test_inits_reports_and_the_functions_own_lines() -> None:
    log = parse(STDOUT, STDERR)
    assert log.inits == [Init(83.329, True, "init")]
    assert log.reports == [
        Report("de812ba2", 84.92, 85, 83.329, 1.335, 128),
        Report("154c1e13", 2000.0, 2000, None, None, 128),
    ]
    assert log.lines == ["hi 1", "", "two", "lines, no newline"]


def test_an_init_that_only_the_log_knows_is_left_out_and_one_that_runs_has_no_duration() -> None:
    assert parse("", FAILED_INIT).inits == [Init(34.695, False, "init"), Init(None, False, "invoke")]


def test_a_line_that_looks_like_a_report_but_is_none_is_the_functions_own() -> None:
    text = "REPORT RequestId: mine\tDuration: soon\nEND of it\nSTART RequestId: \n"
    assert parse(text, "").lines == text.splitlines()
    assert parse(text, "").reports == []


@given(st.lists(st.text(st.characters(exclude_characters="\r\n"), min_size=1)))
def test_what_a_function_prints_is_kept(printed: list[str]) -> None:
    assert parse("".join(f"{line}\n" for line in printed), "").lines == printed


@given(st.lists(st.sampled_from(STDERR.splitlines() + FAILED_INIT.splitlines())))
def test_no_order_of_lines_breaks_the_parser(lines: list[str]) -> None:
    log = parse("", "\n".join(lines))
    assert len(log.inits) <= sum("INIT START" in line for line in lines)


def test_a_record_that_lambda_keeps_together_is_several_lines_with_ordinary_spaces() -> None:
    record = (
        '[ERROR] ValueError: no\rTraceback (most recent call last):\r\xa0\xa0File "app.py"\r\xa0\xa0\xa0\xa0raise\n'
    )
    lines = ["[ERROR] ValueError: no", "Traceback (most recent call last):", '  File "app.py"', "    raise"]
    assert readable(record) == "".join(f"{line}\n" for line in lines)
    assert parse(record, "").lines == lines
    assert parse(record.rstrip("\n") + "END RequestId: de812ba2\n", "").lines == lines


def test_a_functions_own_no_break_spaces_and_line_ends_stay() -> None:
    assert readable("10\xa0000\n\xa0indented\r\nnext\n") == "10\xa0000\n\xa0indented\nnext\n"


def test_each_state_of_a_progress_bar_is_a_line() -> None:
    assert parse("10 %\r20 %\r100 %\n", "").lines == ["10 %", "20 %", "100 %"]


@given(st.text())
def test_what_is_readable_has_no_carriage_return(text: str) -> None:
    assert "\r" not in readable(text)
    assert readable(readable(text)) == readable(text)


OWN = f'  File "{Path(rie.__file__).parents[1]}/caching/loading.py", line 1, in load'


def test_frames_of_samovar_itself_are_counted_and_all_others_stay() -> None:
    mine = ['  File "/var/task/app.py", line 8, in price', "    return prices[item]"]
    trace = [*mine, OWN, "    value = load()", "    ^^^^^^^", OWN, *mine, OWN]
    assert list(folded(trace)) == [*mine, "  … 2 frames of samovar", *mine, "  … 1 frame of samovar"]
    assert list(folded(["    indented", "", *mine])) == ["    indented", "", *mine]
    error = FunctionError("KeyError", "'tea'", ["\n".join(mine) + "\n", f"{OWN}\n    load()\n"], "1")
    assert str(error).splitlines()[3:] == [*mine, "  … 1 frame of samovar"]
    assert len(error.stack_trace) == 2
