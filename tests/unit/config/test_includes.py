from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgenode.config.includes import MAX_SIZE, IncludeError, complain, read

RIGHT = """
# web_v4_normal and include "x"; in a comment
/* edgenode_v4_prefixes,
   likewise */
protocol static mine { ipv4; route 198.51.100.0/24 blackhole { bgp_med = 5; }; }
protocol ospf v2 'a.b' { description "edgenode_export # no comment"; }
filter web_v4_normally { accept; }
"""


def test_the_right_one() -> None:
    assert complain(RIGHT) is None


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("protocol static web_v4_normal { ipv4; }", 'names with "_v4_normal"'),
        ("protocol static 'a.b_v6_degraded' { ipv6; }", 'names with "_v6_degraded"'),
        ("define edgenode_v4_prefixes = [ 0.0.0.0/0+ ];", 'names with "edgenode_v4_prefixes"'),
        ('include "/etc/passwd";', "write that one into bgp.include"),
        ("protocol device { /* }", "a comment that does not end"),
        ('log "x', "a string that does not end"),
        ("\0", "a NUL"),
        ('"#" protocol static x_v4_drained {}', 'names with "_v4_drained"'),
        ('/* " */ protocol static x_v4_drained {}', 'names with "_v4_drained"'),
    ],
)
def test_what_is_refused_and_where(line: str, what: str) -> None:
    lines = RIGHT.count("\n")
    trouble = complain(RIGHT + line + "\n")
    assert trouble
    assert trouble.startswith(f"{lines + 1}: ")
    assert what in trouble


asides = st.sampled_from(["# x\n", "/* x */", '"x"', "/* \n\n */", '"#"', '#"\n', "\n", " ", ";"])


@given(st.lists(asides), st.lists(asides))
@example(['#"\n'], ['"x"'])
def test_nothing_hides_a_name_of_ours(before: list[str], after: list[str]) -> None:
    assert complain("".join([*before, " protocol static x_v4_normal ", *after]))
    assert not complain("".join([*before, *after]))


@pytest.mark.parametrize("piece", ["a", "_", "edgenode", '"', "/*", "# x\n", "_v4_", '"x"'])
def test_the_longest_text_takes_no_time(piece: str) -> None:
    begin = time.process_time()
    complain(piece * (MAX_SIZE // len(piece)))
    assert time.process_time() - begin < 10  # what grows with the square takes minutes


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "own.conf"
    with pytest.raises(IncludeError, match=rf"^{path} cannot be read: No such file"):
        read(path)
    path.write_bytes(b"# \xff\n")
    with pytest.raises(IncludeError, match="no UTF-8"):
        read(path)
    path.write_bytes(b"\n" * (MAX_SIZE + 1))
    with pytest.raises(IncludeError, match="more than"):
        read(path)
    path.write_text("\n\nfilter edgenode_x { accept; }\n")
    with pytest.raises(IncludeError, match=rf"^{path}:3: names with"):
        read(path)
    path.write_text(RIGHT + "# naïve\n")
    assert read(path).endswith("naïve\n")
