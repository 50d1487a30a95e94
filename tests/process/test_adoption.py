from __future__ import annotations

import logging
import os
import socket
import stat

from gateway.process.inherit import InheritedSocket
from gateway.process.sockets import addresses, bind_all
from gateway.settings.bind import Bind

from .listening import bound, connects, free_port, needs_ipv6, refusal, short_path, tcp, unix

__all__ = ["short_path"]

ALL = Bind(name="")


def passed(name="unknown", address=("127.0.0.1", 0), *, owned=False, dual=False):
    """A socket as it comes into a process: a descriptor that nobody holds an object of."""
    family = socket.AF_UNIX
    if not isinstance(address, str):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = socket.socket(family)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
    sock.bind(address)
    sock.listen()
    return InheritedSocket(sock.detach(), name, owned)


def is_open(inherited):
    try:
        os.fstat(inherited.fd)
    except OSError:
        return False
    return True


def port_of(inherited):
    sock = socket.socket(fileno=inherited.fd)
    try:
        return sock.getsockname()[1]
    finally:
        sock.detach()


def close(*inherited):
    for each in inherited:
        os.close(each.fd)


class TestByName:
    def test_adopts_the_socket_of_the_name(self):
        web, admin = passed("web"), passed("admin")
        with bound(Bind(name="admin"), Bind(name="web"), inherited=[web, admin]) as sockets:
            assert [each.socket.fileno() for each in sockets] == [admin.fd, web.fd]

    def test_adopts_all_sockets_of_the_name(self):
        given = [passed("web"), passed("web")]
        with bound(Bind(name="web"), inherited=given) as sockets:
            assert len(sockets) == 2

    def test_no_name_takes_all(self):
        given = [passed("web"), passed("admin")]
        with bound(ALL, inherited=given) as sockets:
            assert [each.socket.fileno() for each in sockets] == [each.fd for each in given]

    def test_no_name_leaves_those_that_are_asked_for_by_name(self):
        web, admin = passed("web"), passed("admin")
        with bound(ALL, Bind(name="web"), inherited=[web, admin]) as sockets:
            found = [(each.bind.name, each.socket.fileno()) for each in sockets]
            assert found == [("", admin.fd), ("web", web.fd)]

    def test_no_name_leaves_what_a_former_gateway_bound(self):
        given = [passed("web"), passed("127.0.0.1:0", owned=True)]
        with bound(ALL, inherited=given) as sockets:
            assert [each.socket.fileno() for each in sockets] == [given[0].fd]

    def test_name_that_was_not_passed_lists_those_that_were(self):
        given = [passed("web"), passed("admin"), passed("web")]
        text = refusal(Bind(name="api"), inherited=given)
        close(*given)
        assert text.startswith("systemd:api was not passed: the inherited sockets are web, admin\n")

    def test_nothing_passed_is_told(self):
        text = refusal(ALL, inherited=[])
        assert text.startswith("systemd: was not passed: this process inherited no sockets\n  ")

    def test_adopted_socket_does_not_block_and_is_not_inherited(self):
        given = passed("web")
        os.set_inheritable(given.fd, True)
        with bound(ALL, inherited=[given]) as [sock]:
            assert not sock.socket.getblocking()
            assert not sock.socket.get_inheritable()


class TestByAddress:
    def test_adopts_the_socket_at_the_address(self):
        given = passed()
        with bound(tcp(port=port_of(given)), inherited=[given]) as [sock]:
            assert sock.socket.fileno() == given.fd

    def test_host_name_adopts_the_socket_at_its_address(self):
        given = passed()
        with bound(tcp("localhost", port_of(given)), inherited=[given]) as [sock]:
            assert sock.socket.fileno() == given.fd

    def test_another_port_is_bound(self):
        given = passed()
        with bound(tcp(port=free_port()), ALL, inherited=[given]) as [new, _]:
            assert new.socket.fileno() != given.fd

    def test_port_zero_is_bound(self):
        given = passed()
        with bound(tcp(), ALL, inherited=[given]) as [new, old]:
            assert old.socket.fileno() == given.fd
            assert new.port != old.port

    def test_number_of_the_descriptor_adopts_it(self, caplog):
        given = passed()
        with bound(Bind(fd=given.fd), inherited=[given]) as [sock]:
            assert sock.socket.fileno() == given.fd
        assert not caplog.records

    def test_path_adopts_the_socket(self, short_path):
        given = passed(address=str(short_path))
        with bound(unix("s"), inherited=[given]) as [sock]:
            assert sock.socket.fileno() == given.fd

    @needs_ipv6
    def test_ipv6_address_adopts_the_socket(self):
        given = passed(address=("::1", 0))
        with bound(tcp("::1", port_of(given)), inherited=[given]) as [sock]:
            assert sock.socket.fileno() == given.fd

    @needs_ipv6
    def test_ipv4_wildcard_adopts_a_dual_stack_socket(self):
        given = passed(address=("::", 0), dual=True)
        with bound(tcp("0.0.0.0", port_of(given)), inherited=[given]) as [sock]:
            assert sock.socket.fileno() == given.fd

    @needs_ipv6
    def test_both_wildcards_share_a_dual_stack_socket(self):
        given = passed(address=("::", 0), dual=True)
        port = port_of(given)
        with bound(tcp("0.0.0.0", port), tcp("::", port), inherited=[given]) as sockets:
            assert [each.socket.fileno() for each in sockets] == [given.fd]

    @needs_ipv6
    def test_ipv4_wildcard_does_not_adopt_an_ipv6_socket(self):
        given = passed(address=("::", 0))
        with bound(tcp("0.0.0.0", port_of(given)), ALL, inherited=[given]) as [ipv4, ipv6]:
            assert ipv4.socket.family == socket.AF_INET
            assert ipv4.port == ipv6.port

    @needs_ipv6
    def test_ipv6_wildcard_beside_an_adopted_ipv4_socket_takes_ipv6_alone(self):
        given = passed("web", ("0.0.0.0", 0))
        with bound(Bind(name="web"), tcp("::", port_of(given)), inherited=[given]) as [ipv4, ipv6]:
            assert ipv4.port == ipv6.port

    def test_address_asked_for_twice_is_adopted_once(self):
        given = passed("web")
        with bound(Bind(name="web"), Bind(name="web"), inherited=[given]) as sockets:
            assert len(sockets) == 1


class TestUnclaimed:
    def test_is_closed(self):
        given = passed("web")
        with bound(tcp(), inherited=[given]):
            assert not is_open(given)

    def test_is_named_in_a_warning(self, caplog):
        given = [passed("web"), passed("admin")]
        port = port_of(given[0])
        with bound(Bind(name="admin"), inherited=given):
            [record] = caplog.records
        assert record.levelno == logging.WARNING
        assert record.getMessage() == (
            "closed inherited sockets that no address asks for: "
            f"web (fd {given[0].fd}, 127.0.0.1:{port})"
        )

    def test_what_is_no_socket_is_closed_too(self, tmp_path, caplog):
        given = InheritedSocket(os.open(tmp_path, os.O_RDONLY), "stored")
        with bound(tcp(), inherited=[given]):
            assert not is_open(given)
        assert f"stored (fd {given.fd})" in caplog.text

    def test_abstract_unix_socket_is_readable(self, caplog):
        given = passed("web", f"\0gateway-test-{os.getpid()}")
        with bound(tcp(), inherited=[given]):
            assert f", @gateway-test-{os.getpid()})" in caplog.text


class TestRefused:
    def test_adopted_sockets_stay_open_when_another_address_fails(self):
        given = passed("web")
        refusal(Bind(name="web"), tcp("203.0.113.7", 8000), inherited=[given])
        assert is_open(given)
        close(given)

    def test_unclaimed_sockets_stay_open_when_an_address_fails(self):
        given = passed("web")
        refusal(tcp("203.0.113.7", 8000), inherited=[given])
        assert is_open(given)
        close(given)

    def test_datagram_socket_is_named(self):
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        given = InheritedSocket(sock.detach(), "log")
        text = refusal(ALL, inherited=[given])
        close(given)
        assert text.startswith(f"fd://{given.fd} (log) is a AF_INET SOCK_DGRAM socket, not a TCP")

    def test_what_is_no_socket_is_named(self, tmp_path):
        given = InheritedSocket(os.open(tmp_path, os.O_RDONLY), "stored")
        text = refusal(ALL, inherited=[given])
        close(given)
        assert text.startswith(f"fd://{given.fd} (stored) is not a socket\n")


class TestHandedOn:
    """From one gateway to the next: `as_inherited` here, adopted there."""

    def hand_on(self, binds, **options):
        old = bind_all(binds, **options)
        handed = [each.as_inherited() for each in old]
        # The new process has descriptors of its own with the same sockets behind them.
        handed = [InheritedSocket(os.dup(each.fd), each.name, each.owned) for each in handed]
        return old, handed

    def test_port_that_the_system_chose_is_kept(self):
        old, handed = self.hand_on([tcp()])
        with bound(tcp(), inherited=handed) as [new]:
            assert new.port == old[0].port
            old[0].forget()

    def test_all_sockets_of_a_host_name_are_kept(self):
        old, handed = self.hand_on([tcp("localhost")])
        with bound(tcp("localhost"), inherited=handed) as new:
            assert [each.port for each in new] == [each.port for each in old]
            for each in old:
                each.forget()

    def test_systemds_name_survives(self):
        old, handed = self.hand_on([ALL], inherited=[passed("web")])
        old[0].forget()
        assert [(each.name, each.owned) for each in handed] == [("web", False)]
        close(*handed)

    def test_file_goes_with_the_successor(self, short_path):
        old, handed = self.hand_on([unix("s")])
        with bound(unix("s"), inherited=handed) as [new]:
            old[0].forget()
            new.take_over()
            assert short_path.exists()
        assert not short_path.exists()

    def test_forget_leaves_the_file_to_a_server_that_listens(self, short_path):
        old, handed = self.hand_on([unix("s")])
        old[0].forget()
        old[0].close()
        with bound(unix("s"), inherited=handed):
            assert connects(socket.AF_UNIX, "s")

    def test_successor_that_fails_leaves_the_file(self, short_path):
        old, handed = self.hand_on([unix("s")])
        with bound(unix("s"), inherited=handed):
            pass
        assert connects(socket.AF_UNIX, "s")
        old[0].close()
        assert not short_path.exists()

    def test_file_of_systemd_is_never_removed(self, short_path):
        given = passed("web", str(short_path))
        with bound(unix("s"), inherited=[given]) as [sock]:
            sock.take_over()
        assert short_path.exists()

    def test_file_of_systemd_is_not_owned_by_successors(self, short_path):
        old, handed = self.hand_on([unix("s")], inherited=[passed("web", str(short_path))])
        old[0].forget()
        assert [each.owned for each in handed] == [False]
        close(*handed)

    def test_mode_of_an_adopted_file_is_left_alone(self, short_path):
        given = passed("web", str(short_path))
        short_path.chmod(0o600)
        with bound(unix("s"), inherited=[given]):
            assert stat.S_IMODE(short_path.stat().st_mode) == 0o600


class TestAddresses:
    def test_are_the_settings_where_nothing_was_passed(self):
        assert addresses([tcp(port=8000)], False, []) == (tcp(port=8000),)

    def test_are_systemds_sockets_where_nobody_named_one(self):
        assert addresses([tcp(port=8000)], False, [InheritedSocket(3, "web")]) == (ALL,)

    def test_are_the_settings_where_somebody_named_one(self):
        assert addresses([tcp(port=8000)], True, [InheritedSocket(3)]) == (tcp(port=8000),)

    def test_are_the_default_of_a_former_gateway_without_systemd(self):
        inherited = [InheritedSocket(3, "127.0.0.1:8000", owned=True)]
        assert addresses([tcp(port=8000)], False, inherited) == (tcp(port=8000),)
