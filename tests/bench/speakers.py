"""What is compared: each way to announce a prefix and to withdraw it when its proxy dies, on a
node of its own with the same proxy, the same link and the same upstream.

The peers run with their best settings. Nothing of theirs is slowed: their checks connect to the
proxy with `nc`, which costs less than what their manuals show, they log next to nothing, and BIRD
has a file of a few lines to parse.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal

from edgenode.lab import Group, Lab, LabError
from edgenode.lab.build import nginx
from edgenode.lab.netns import configure, run
from edgenode.lab.nodes import edge, transit
from edgenode.lab.python import environment
from edgenode.lab.topology import Edge, Transit

PEERS = Path(__file__).resolve().parents[2] / ".venv-bench" / "bin"
"""The commands of the peers' own virtual environment."""

PRIORITY = -10
"""Of everything that is compared, alike: other work on the machine disturbs less. A nice value, of
processes and of their sessions (`edgenode.lab.process`). It weighs nine times as much as what is
usual; the units of a node have ten times as much (CPUWeight=1000)."""

FRR = Path("/usr/lib/frr")
CABOUROTTE_PORT = 9013


def group(number: int) -> Group:
    """The prefixes of the n-th node, out of the benchmarks' ranges (RFC 2544, RFC 5180)."""
    v4 = IPv4Network(f"198.18.{number}.0/24")
    v6 = IPv6Network(f"2001:2:0:{number:x}::/64")
    return Group(f"bench{number}", (v4, v6), (v4[1], v6[1]))


@dataclass(frozen=True)
class Site:
    """A node of the comparison, and what it announces (IPv4 is what is measured)."""

    lab: Lab
    node: Edge
    group: Group

    @property
    def directory(self) -> Path:
        return self.lab.directory(self.node.name)

    @property
    def own(self) -> str:
        """The speaker's address."""
        return str(self.lab.topology.uplink(self.node.name).end(self.node.name).ipv4.ip)

    @property
    def there(self) -> str:
        """The upstream's address."""
        return str(self.lab.topology.uplink(self.node.name).other(self.node.name).ipv4.ip)

    @property
    def upstream(self) -> Transit:
        transit_node = self.lab.topology.node(self.node.transit)
        assert isinstance(transit_node, Transit)
        return transit_node

    @property
    def prefix(self) -> str:
        return str(self.group.prefixes[0])

    @property
    def service(self) -> str:
        return str(self.group.addresses[0])

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        return path

    def spawn(
        self, daemon: str, *argv: str | Path, variables: dict[str, str] | None = None
    ) -> None:
        self.lab.spawn(self.node.name, daemon, [str(word) for word in argv], variables)


Start = Callable[[Site], None]


@dataclass(frozen=True)
class Case:
    """A way to announce, under the name that it has in the JSON."""

    name: str
    node: str
    start: Start
    interval: float
    """Seconds between two of its polls: the kill comes at a random moment of one."""
    checker: str = ""
    """The daemon that polls: at rest while others have their turn. Empty: it never rests."""
    slow: bool = False
    """It takes so long that it has its turn together with the others that do."""
    dies: Literal["proxy", "control"] = "proxy"
    """What is killed; with BIRD alone, where nothing polls, BIRD is told at that moment."""


# The proxy, and BIRD with a static route


def proxy(site: Site, groups: Iterable[Group] = ()) -> None:
    """The proxy that is killed, on the service addresses."""
    addresses = [address for each in groups or (site.group,) for address in each.addresses]
    space = site.lab.namespace(site.node.name)
    configure(
        space,
        [
            f"addr add {address}/{address.max_prefixlen} dev lo"
            + (" nodad" if address.version == 6 else "")
            for address in addresses
        ],
    )
    literals = (f"[{a}]" if a.version == 6 else str(a) for a in addresses)
    path = site.write(
        "nginx.conf",
        _NGINX.format(
            directory=site.directory,
            name=site.node.name,
            listen="\n".join(f"        listen {literal}:80;" for literal in literals),
        ),
    )
    site.spawn("nginx", *nginx(path))


_NGINX = """\
daemon off;
user root;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {directory}/nginx-tmp;
    proxy_temp_path {directory}/nginx-tmp;
    fastcgi_temp_path {directory}/nginx-tmp;
    uwsgi_temp_path {directory}/nginx-tmp;
    scgi_temp_path {directory}/nginx-tmp;
    default_type application/json;
    server {{
{listen}
        location / {{ return 200 '{{"edge":"{name}"}}'; }}
    }}
}}
"""

_BIRD = """\
log stderr {{ warning, error, fatal, auth, bug }};
router id {router_id};
{head}
protocol device {{ scan time 60; }}
protocol static anycast {{
    ipv4 {{ {accept} }};
{routes}
}}
protocol bgp upstream {{
    local {own} as {asn};
    neighbor {there} as {upstream};
    hold time 9;
    connect delay time 0; connect retry time 1; error wait time 1, 2;
    graceful restart off;
    ipv4 {{ import none; export where source = RTS_STATIC; next hop self; }};
}}
"""


def bird(
    site: Site, groups: Iterable[Group] = (), head: str = "", accept: str = "import all;"
) -> None:
    """BIRD with a static protocol `anycast` that holds the prefixes."""
    routes = (f"    route {each.prefixes[0]} blackhole;" for each in groups or (site.group,))
    site.write(
        "bird.conf",
        _BIRD.format(
            router_id=site.node.router_id,
            head=head,
            accept=accept,
            routes="\n".join(routes),
            own=site.own,
            asn=site.node.asn,
            there=site.there,
            upstream=site.upstream.asn,
        ),
    )
    site.spawn("bird", *transit.bird(site.directory))


def floor(site: Site) -> None:
    """Nothing but BIRD: somebody who knows at once tells it on an open control socket."""
    proxy(site)
    bird(site)


# edgenode

_EDGENODE = """\
[node]
name = "{name}"
run_dir = "{directory}/run"
state_dir = "{directory}/state"

[bgp]
asn = {asn}
router_id = "{router_id}"
socket = "{directory}/bird.ctl"
config = "{directory}/bird.conf"

[[bgp.neighbors]]
name = "upstream"
address = "{there}"
source = "{own}"
asn = {upstream}

[lifeline]
grace = 0
"""

_ONE_GROUP = """
[[groups]]
name = "bench"
prefixes = ["{prefix}"]
addresses = ["{service}"]
checks = ["proxy"]
damping.enabled = false  # so many deaths are not what an upstream would bear

[[checks]]
name = "proxy"
type = "http"
url = "http://{service}/"
interval = "1s"
rise = 1
fall = 1
"""


def edgenode(site: Site) -> None:
    """edgenode at the interval of the peers' middle setting."""
    proxy(site)
    text = _ONE_GROUP.format(prefix=site.prefix, service=site.service)
    edgenode_daemons(site, text)


def edgenode_daemons(site: Site, groups_and_checks: str) -> None:
    """What a node of edgenode runs for announcing: BIRD, the lifeline, control."""
    head = _EDGENODE.format(
        name=site.node.name,
        directory=site.directory,
        asn=site.node.asn,
        router_id=site.node.router_id,
        there=site.there,
        own=site.own,
        upstream=site.upstream.asn,
    )
    config = site.write("edgenode.toml", head + groups_and_checks)
    (site.directory / "run").mkdir(mode=0o700)
    run(edge.render_bird(config), environment=environment())
    site.spawn("bird", *transit.bird(site.directory))
    for daemon in ("lifeline", "control"):
        site.spawn(daemon, *edge.daemon(config, daemon), variables=environment())


# anycast_healthchecker

_HEALTHCHECKER = """\
[daemon]
pidfile = {directory}/healthchecker.pid
ipv4 = true
ipv6 = false
bird_conf = {prefixes}
bird_variable = ACAST_PS_ADVERTISE
bird_reconfigure_cmd = {birdc} -s {directory}/bird.ctl configure
dummy_ip_prefix = {dummy}
loglevel = error

[bench]
check_cmd = {check}
check_disabled = false
ip_check_disabled = true
ip_prefix = {prefix}
"""
_DUMMY = "10.189.200.255/32"


def healthchecker(settings: str) -> Start:
    """anycast_healthchecker with BIRD: a set of prefixes in a file, and `birdc configure`.

    The set is in the filter between the static protocol and the table: in an export filter each
    change would send every route again.
    """

    def start(site: Site) -> None:
        proxy(site)
        prefixes = site.write(
            "prefixes.conf", f"define ACAST_PS_ADVERTISE =\n [\n  {_DUMMY}\n ];\n"
        )
        bird(site, head=f'include "{prefixes}";', accept="import where net ~ ACAST_PS_ADVERTISE;")
        text = _HEALTHCHECKER.format(
            directory=site.directory,
            prefixes=prefixes,
            birdc=_command("birdc"),
            dummy=_DUMMY,
            check=_check(site),
            prefix=site.prefix,
        )
        config = site.write("healthchecker.conf", text + settings)
        services = site.directory / "services"  # has to be there, and may be empty
        services.mkdir()
        site.spawn("checker", PEERS / "anycast-healthchecker", "-f", config, "-d", services)

    return start


# ExaBGP

_EXABGP = """\
process watch {{
    run {python} -m exabgp healthcheck --no-syslog --no-ip-setup --withdraw-on-down \
--ip {prefix} --command "{check}" {settings};
    encoder text;
}}
neighbor {there} {{
    router-id {router_id};
    local-address {own};
    local-as {asn};
    peer-as {upstream};
    hold-time 9;
    family {{ ipv4 unicast; }}
    api {{ processes [ watch ]; }}
}}
"""


def exabgp(settings: str) -> Start:
    """ExaBGP, which speaks BGP itself, and its healthcheck."""

    def start(site: Site) -> None:
        proxy(site)
        config = site.write(
            "exabgp.conf",
            _EXABGP.format(
                python=PEERS / "python",
                prefix=site.prefix,
                check=_check(site),
                settings=settings,
                there=site.there,
                own=site.own,
                router_id=site.node.router_id,
                asn=site.node.asn,
                upstream=site.upstream.asn,
            ),
        )
        variables = {
            "exabgp_daemon_user": "root",
            "exabgp_api_cli": "false",
            "exabgp_log_level": "ERROR",
        }
        site.spawn("exabgp", PEERS / "exabgp", config, variables=variables)

    return start


# anycastd

_FRR = """\
hostname bench
log stdout warnings
router bgp {asn}
 bgp router-id {router_id}
 no bgp ebgp-requires-policy
 no bgp network import-check
 no bgp default ipv4-unicast
 coalesce-time 0
 timers bgp 3 9
 neighbor {there} remote-as {upstream}
 neighbor {there} update-source {own}
 neighbor {there} timers connect 1
 neighbor {there} advertisement-interval 0
 address-family ipv4 unicast
  neighbor {there} activate
 exit-address-family
"""

_ANYCASTD = """\
[services.bench]
prefixes.frrouting = ["{prefix}"]
checks.cabourotte = [{{ name = "proxy"{settings} }}]
"""

ANYCASTD_NOTE = (
    "anycastd: Cabourotte, which it asks for results, is in no registry here; a stand-in tries "
    "the proxy at the moment that it is asked, so anycastd is faster here than with the real one"
)


def anycastd(settings: str) -> Start:
    """anycastd with FRR, whose sockets are in a directory that only its processes see."""

    def start(site: Site) -> None:
        proxy(site)
        place = site.directory / "frr"
        place.mkdir()
        shutil.chown(place, "frr", "frr")
        text = _FRR.format(
            asn=site.node.asn,
            router_id=site.node.router_id,
            there=site.there,
            own=site.own,
            upstream=site.upstream.asn,
        )
        (place / "bgpd.conf").write_text(text, encoding="utf-8")
        Path("/run/frr").mkdir(exist_ok=True)  # what Debian's unit makes at its start
        hide = ("unshare", "--mount", "--propagation", "private", "sh", "-c")
        private = (*hide, 'mount --bind "$0" /run/frr && exec "$@"', str(place))
        site.spawn(
            "bgpd", *private, FRR / "bgpd", "--no_zebra", "-f", "/run/frr/bgpd.conf",
            "-i", "/run/frr/bgpd.pid",
        )  # fmt: skip
        stand_in = Path(__file__).with_name("cabourotte.py")
        site.spawn("results", sys.executable, stand_in, str(CABOUROTTE_PORT), site.service, "80")
        text = _ANYCASTD.format(prefix=site.prefix, settings=settings)
        config = site.write("anycastd.toml", text)
        site.spawn(
            "checker", *private, PEERS / "anycastd", "run", "--log-level", "warning", "-c", config
        )

    return start


def _check(site: Site) -> str:
    """The peers' check: a TCP connection to the proxy."""
    return f"{_command('nc')} -z -w 1 {site.service} 80"


def _command(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise LabError(f"{name} is not installed: `./run bench withdraw` installs it")
    return path


_HC = "check_interval = {0}\ncheck_timeout = 1\ncheck_rise = 1\ncheck_fail = 1\n"
_EX = "--debounce --interval {0} --fast-interval {0} --rise 1 --fall 1"
_AC = ", interval = {0}"

CASES = (
    Case("floor", "floor", floor, 0.0),
    Case("edgenode", "own", edgenode, 1.0),
    Case("edgenode, control killed", "own", edgenode, 1.0, dies="control"),
    Case("anycast-healthchecker 1s", "hc1", healthchecker(_HC.format(1)), 1.0, "checker"),
    Case("exabgp 1s", "ex1", exabgp(_EX.format(1)), 1.0, "exabgp"),
    Case("anycastd 1s", "ac1", anycastd(_AC.format(1)), 1.0, "checker"),
    Case("anycast-healthchecker 0.1s", "hc01", healthchecker(_HC.format(0.1)), 0.1, "checker"),
    Case("exabgp 0.1s", "ex01", exabgp(_EX.format(0.1)), 0.1, "exabgp"),
    Case("anycastd 0.1s", "ac01", anycastd(_AC.format(0.1)), 0.1, "checker"),
    Case("anycast-healthchecker defaults", "hcd", healthchecker(""), 10.0, "checker", slow=True),
    Case("exabgp defaults", "exd", exabgp(""), 5.0, "exabgp", slow=True),
    Case("anycastd defaults", "acd", anycastd(""), 5.0, "checker", slow=True),
)
