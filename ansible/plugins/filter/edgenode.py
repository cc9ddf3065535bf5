"""Filters of the roles: the inventory and a node's answers, judged by `edgenode.inventory`.

They only turn Ansible's values into plain ones and back. Contents of secrets never pass through
them: of `edgenode_secrets` the names alone are read, and whether each is text.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

from edgenode import inventory
from edgenode.config.values import parse_duration


def _plain(value: Any) -> Any:
    """Ansible's mappings, lists and marked texts as Python's own."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_plain(item) for item in value]
    return value


def _hosts(hostvars: Any, groups: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for host in dict.fromkeys([*groups.get("edges", ()), *groups.get("workers", ())]):
        variables = hostvars[host]
        names = [
            name
            for name in variables
            if name.startswith("edgenode_") or name in {"ansible_host", "ansible_port"}
        ]
        found[host] = {
            name: {
                key: "" if isinstance(text, str) else None for key, text in variables[name].items()
            }
            if name == "edgenode_secrets" and isinstance(variables[name], Mapping)
            else _plain(variables[name])
            for name in names
        }
    return found


def _fleet(hostvars: Any, groups: Mapping[str, Sequence[str]]) -> inventory.Fleet:
    hosts = _hosts(hostvars, groups)
    return inventory.read_fleet(hosts, groups.get("edges", ()), groups.get("workers", ()))[0]


def problems(hostvars: Any, groups: Mapping[str, Sequence[str]], directory: str) -> list[str]:
    """What is wrong with the inventory as a whole, in sentences."""
    hosts = _hosts(hostvars, groups)
    fleet, found = inventory.read_fleet(hosts, groups.get("edges", ()), groups.get("workers", ()))
    if not hosts:
        return ["the inventory has no host in the groups edges and workers: is -i right?"]
    found += inventory.strays({host: hostvars[host] for host in groups["all"]}, fleet)
    found += inventory.unknown_variables(hosts)
    found += inventory.overlaps(fleet)
    return [_spell(problem, groups, directory) for problem in sorted(set(found))]


def _configuration(
    hostvars: Any, groups: Mapping[str, Sequence[str]], host: str, keys: Any
) -> dict[str, Any]:
    try:
        return inventory.configuration(_fleet(hostvars, groups), host, _plain(keys))
    except KeyError as error:
        raise AnsibleFilterError(
            f"{host}: the WireGuard key of {error.args[0]} is not known (it does not answer, or "
            "has none yet): mend it and run for all, or write edgenode_public_key into "
            f"host_vars/{error.args[0]}.yml"
        ) from None


def toml(hostvars: Any, groups: Mapping[str, Sequence[str]], host: str, keys: Any) -> str:
    """A node's edgenode.toml."""
    try:
        return inventory.dumps(_configuration(hostvars, groups, host, keys))
    except TypeError as error:
        raise AnsibleFilterError(f"{host}: edgenode_{error}") from None


def peers(hostvars: Any, groups: Mapping[str, Sequence[str]], host: str, keys: Any) -> Any:
    """A worker's peers: name, public_key, endpoint, allowed, keepalive in seconds."""
    found = _configuration(hostvars, groups, host, keys)["mesh"]["peers"]
    for peer in found:
        if "keepalive" in peer:
            seconds = parse_duration(peer["keepalive"])
            # As edges do: a fraction is not none.
            peer["keepalive"] = max(1, round(seconds)) if seconds else 0
    return found


def placeholder_keys(hosts: Sequence[str]) -> dict[str, str]:
    """Keys to check configurations with before the nodes' own are known."""
    return {str(host): inventory.placeholder_key(str(host)) for host in hosts}


def config_problems(
    results: Sequence[Mapping[str, Any]],
    hostvars: Any,
    groups: Mapping[str, Sequence[str]],
    directory: str,
) -> list[str]:
    """What `check-config --json` said of each node, by host and variable of the inventory."""
    fleet = _fleet(hostvars, groups)
    found: dict[str, None] = {}
    for result in results:
        try:
            answer = json.loads(result["stdout"])
        except ValueError:
            found[f"{result['item']}: check-config: {result['stderr'] or result['stdout']}"] = None
            continue
        for problem in answer["problems"]:
            key = problem["key"]
            host, variable = inventory.variable_of(fleet, result["item"], key)
            one = inventory.Problem(host, variable, problem["what"])
            found[_spell(one, groups, directory)] = None
    return list(found)


def look(paths: Sequence[str]) -> str:
    """The shell command that says how files are."""
    return inventory.LOOK.format(" ".join(shlex.quote(path) for path in paths))


def pending(files: Sequence[Mapping[str, Any]], answer: str) -> list[str]:
    """Paths of the files that are not as they must be."""
    return inventory.pending([inventory.File(**_plain(file)) for file in files], answer)


def files(
    contents: Mapping[str, str], directory: str, owner: str = "root", mode: str = "0644"
) -> list[dict[str, str]]:
    """Files by name as the list that `edgenode_pending` takes."""
    common = {"owner": owner, "group": owner, "mode": mode}
    return [
        {"path": f"{directory}/{name}", "content": content, **common}
        for name, content in contents.items()
    ]


def left_behind(want: Sequence[str], placed: str) -> list[str]:
    """Paths that the playbook put on a node once, and that the inventory has no more."""
    return inventory.left_behind(want, placed)


def renewals(
    paths: Sequence[str],
    old: str,
    new: str,
    release_changes: bool,
    note: str,
    control_answers: bool,
    takes_over: bool,
) -> dict[str, list[str]]:
    """Units that have to start anew or to reload, and why users are cut where they are.

    `note` is what a cut-off run left.
    """
    tables = inventory.tables_changed(old, new)
    # Without a configuration steering has never started.
    first = not old and not takes_over
    return asdict(
        inventory.renewals(
            paths, tables, release_changes, note.splitlines(), control_answers, takes_over, first
        )
    )


def applies(units: Sequence[str], old: str, new: str, note: str) -> bool:
    """Whether control takes up its configuration, where it is none of the units that start anew."""
    return inventory.applies(inventory.tables_changed(old, new), units, note.splitlines())


def expected(
    status: str, text: str, known_down: Sequence[str], note: str, release: str
) -> dict[str, Any]:
    """What has to be once a node is changed.

    `status` is the output of `edgenode status --json`, if any; `text` is the new edgenode.toml;
    `release` is of a plain host.
    """
    want = inventory.expected(
        inventory.answered(status), text, _plain(known_down), bool(note), release
    )
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(want).items()
    }


def left_drained(status: str) -> list[str]:
    """Groups that the playbook has drained."""
    return list(inventory.left_drained(inventory.answered(status)))


def unmet(status: str, phase: str, want: Mapping[str, Any]) -> list[str]:
    """What still lacks for a phase (drained, changed, released, announced) to be over."""
    return inventory.unmet(phase, _expected(want), inventory.answered(status))  # type: ignore[arg-type]


def waiting(status: str, want: Mapping[str, Any]) -> dict[str, Any]:
    """For how many seconds a node lets groups wait by itself, and why, in sentences."""
    found = inventory.waiting(_expected(want), inventory.answered(status))
    return {"seconds": found.seconds, "why": list(found.why)}


def _expected(want: Mapping[str, Any]) -> inventory.Expected:
    plain = {key: tuple(v) if isinstance(v, list) else v for key, v in _plain(want).items()}
    return inventory.Expected(**plain)


def locked_out(login: str, firewall: Any, own_rules: Any, keys: Any) -> list[str]:
    """Why the operator could not log in once more, in sentences.

    Rules of the operator's own may let him in: then `edgenode firewall apply` judges.
    """
    table = _plain(firewall or {})
    management = None if own_rules or table.get("include") else table.get("management")
    return list(inventory.locked_out(login, management, _plain(keys) or None))


def _spell(problem: inventory.Problem, groups: Mapping[str, Sequence[str]], directory: str) -> str:
    """With the file and line where the variable stands, as far as they are found."""
    places = _places(problem, groups, Path(directory))
    return f"{problem}{f' [{places}]' if places else ''}"


def _places(
    problem: inventory.Problem, groups: Mapping[str, Sequence[str]], directory: Path
) -> str:
    """Only files that concern the host: its own wins over its groups'."""
    name = re.split(r"[.\[]", problem.variable)[0]
    line = re.compile(rf"^\s*['\"]?{re.escape(name)}['\"]?\s*:")
    member = [group for group, hosts in groups.items() if problem.host in hosts]
    for kind, owners in (("host_vars", [problem.host]), ("group_vars", ["all", *member])):
        found = []
        for owner in dict.fromkeys(owners):
            base = directory / kind / owner
            files = sorted(base.rglob("*")) if base.is_dir() else []
            files += [base, base.with_name(owner + ".yml"), base.with_name(owner + ".yaml")]
            for file in files:
                if file.is_file():
                    text = file.read_text(errors="replace").splitlines()
                    found += [
                        f"{file.relative_to(directory)}:{number}"
                        for number, content in enumerate(text, 1)
                        if line.match(content)
                    ]
        if found:
            return ", ".join(found)
    return ""


class FilterModule:
    """Ansible asks for `filters`."""

    def filters(self) -> dict[str, Any]:
        """By the names that the roles use."""
        return {
            "edgenode_problems": problems,
            "edgenode_toml": toml,
            "edgenode_peers": peers,
            "edgenode_placeholder_keys": placeholder_keys,
            "edgenode_config_problems": config_problems,
            "edgenode_look": look,
            "edgenode_pending": pending,
            "edgenode_files": files,
            "edgenode_reason": lambda _: inventory.REASON,
            "edgenode_left_behind": left_behind,
            "edgenode_left_drained": left_drained,
            "edgenode_locked_out": locked_out,
            "edgenode_renewals": renewals,
            "edgenode_applies": applies,
            "edgenode_expected": expected,
            "edgenode_unmet": unmet,
            "edgenode_waiting": waiting,
        }
