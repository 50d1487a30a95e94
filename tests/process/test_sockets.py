from __future__ import annotations

import os
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from contextlib import closing

import pytest

from gateway.process import sockets as sockets_module
from gateway.process.inherit import InheritedSocket
from gateway.process.port_owner import describe_port_owner
from gateway.settings.bind import Bind

from .listening import (
    bound,
    connects,
    free_port,
    listener,
    needs_ipv6,
    refusal,
    short_path,
    tcp,
    unix,
)

__all__ = ["short_path"]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="owners are read from /proc")


class TestTcp:
    def test_listens_at_a_port_of_the_systems_choice(self):
        with bound(tcp()) as [sock]:
            assert connects(socket.AF_INET, ("127.0.0.1", sock.port))

    def test_url_has_the_real_port(self):
        with bound(tcp()) as [sock]:
            assert sock.url() == f"http://127.0.0.1:{sock.socket.getsockname()[1]}"

    def test_url_has_the_scheme(self):
        with bound(tcp()) as [sock]:
            assert sock.url("https") == f"https://127.0.0.1:{sock.port}"

    @needs_ipv6
    def test_url_brackets_ipv6(self):
        with bound(tcp("::1")) as [sock]:
            assert sock.url() == f"http://[::1]:{sock.port}"

    def test_does_not_block(self):
        with bound(tcp()) as [sock], pytest.raises(BlockingIOError):
            sock.socket.accept()

    def test_started_programs_do_not_inherit(self):
        with bound(tcp()) as [sock]:
            assert not sock.socket.get_inheritable()

    def test_port_is_free_after_close(self):
        with bound(tcp()) as [sock]:
            port = sock.port
        with bound(tcp(port=port)) as [again]:
            assert again.port == port

    def test_same_address_twice_is_bound_once(self):
        bind = tcp(port=free_port())
        with bound(bind, bind) as sockets:
            assert len(sockets) == 1

    def test_order_is_kept(self):
        first, second = tcp(port=free_port()), tcp(port=free_port())
        with bound(first, second) as sockets:
            assert [each.bind for each in sockets] == [first, second]

    @needs_ipv6
    def test_ipv6_wildcard_alone_takes_ipv4(self):
        with bound(tcp("::")) as [sock]:
            assert connects(socket.AF_INET, ("127.0.0.1", sock.port))

    @needs_ipv6
    def test_both_wildcards_share_a_port(self):
        port = free_port()
        with bound(tcp("::", port), tcp("0.0.0.0", port)) as sockets:
            assert [each.port for each in sockets] == [port, port]

    @needs_ipv6
    def test_ipv4_at_another_port_leaves_the_ipv6_wildcard_dual(self):
        with bound(tcp("::", free_port()), tcp("0.0.0.0")) as [dual, _]:
            assert connects(socket.AF_INET, ("127.0.0.1", dual.port))

    @needs_ipv6
    def test_all_addresses_of_a_host_get_the_same_free_port(self):
        with bound(tcp("")) as sockets:
            families = {each.socket.family for each in sockets}
            assert families == {socket.AF_INET, socket.AF_INET6}
            assert len({each.port for each in sockets}) == 1

    def test_host_name_is_resolved(self):
        with bound(tcp("localhost")) as sockets:
            assert connects(sockets[0].socket.family, sockets[0].socket.getsockname())

    def test_unknown_host_is_told(self):
        label = "x" * 64  # longer than DNS allows, so nobody is asked
        assert f'the host "{label}" has no address' in refusal(tcp(label))

    def test_foreign_address_is_told(self):
        text = refusal(tcp("203.0.113.7", 8000))
        assert text.startswith(
            "203.0.113.7:8000 is not an address of this machine\n  use 127.0.0.1"
        )

    def test_failure_closes_what_was_bound(self):
        port = free_port()
        with listener() as taken:
            refusal(tcp(port=port), tcp(port=taken.getsockname()[1]))
        assert not connects(socket.AF_INET, ("127.0.0.1", port))

    def test_low_port_names_the_permission(self):
        if sys.platform == "linux":
            with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
                if int(file.read()) <= 81:
                    pytest.skip("low ports are free for all on this machine")
        privileged = os.geteuid() == 0
        if privileged:
            os.seteuid(65534)
        try:
            text = refusal(tcp(port=81))
        finally:
            if privileged:
                os.seteuid(0)
        assert text.startswith("127.0.0.1:81 needs a permission")
        assert "CAP_NET_BIND_SERVICE" in text


class TestTakenPort:
    def test_hint_is_a_port_that_is_free(self):
        with listener() as taken:
            port = taken.getsockname()[1]
            hint = refusal(tcp(port=port)).splitlines()[1]
        other = int(hint.removeprefix("  use --port ").split(",")[0])
        assert hint == f"  use --port {other}, or --port 0 for any free port"
        assert port < other <= port + 16

    @on_linux
    def test_owner_is_named_with_its_command(self):
        code = (
            "import signal, socket; s = socket.create_server(('127.0.0.1', 0));"
            "print(s.getsockname()[1], flush=True); signal.pause()"
        )
        command = [sys.executable, "-S", "-c", code, "main:app"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
            try:
                port = int(owner.stdout.readline())
                text = refusal(tcp(port=port))
            finally:
                owner.send_signal(signal.SIGKILL)
        python = os.path.basename(sys.executable)
        start = f"127.0.0.1:{port} is taken by pid {owner.pid}: {python} -S -c 'import signal"
        assert text.startswith(start)

    @on_linux
    def test_own_port_is_told_apart(self):
        with bound(tcp()) as [sock]:
            text = refusal(tcp(port=sock.port))
            assert f":{sock.port} is taken by this process itself (pid {os.getpid()})\n" in text

    @on_linux
    @needs_ipv6
    def test_owner_of_the_ipv6_wildcard_is_found(self):
        with bound(tcp("::")) as [sock]:
            assert "this process itself" in refusal(tcp("127.0.0.1", sock.port))

    @on_linux
    @needs_ipv6
    def test_owner_of_an_ipv6_address_is_found(self):
        with bound(tcp("::1")) as [sock]:
            text = refusal(tcp("::1", sock.port))
            assert text.startswith(f"[::1]:{sock.port} is taken by this process itself")

    @on_linux
    def test_owner_with_a_title_is_named_by_it(self):
        pytest.importorskip("setproctitle")
        code = (
            "import signal, socket; from gateway.process.title import set_title;"
            "s = socket.create_server(('127.0.0.1', 0)); set_title('gateway: /srv/a b');"
            "print(s.getsockname()[1], flush=True); signal.pause()"
        )
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
            try:
                port = int(owner.stdout.readline())
                told = describe_port_owner("127.0.0.1", port)
            finally:
                owner.kill()
        assert told == f"pid {owner.pid}: gateway: /srv/a b"

    def test_unknown_owner_is_another_process(self):
        assert describe_port_owner("127.0.0.1", free_port()) == "another process"


class TestUnix:
    def test_listens_at_the_path(self, short_path):
        with bound(unix("s")):
            assert connects(socket.AF_UNIX, "s")

    def test_url_is_the_absolute_path(self, short_path):
        with bound(unix("s")) as [sock]:
            assert sock.url() == f"unix:{short_path}"

    def test_has_no_port(self, short_path):
        with bound(unix("s")) as [sock]:
            assert sock.port is None

    def test_every_user_may_connect(self, short_path):
        with bound(unix("s")):
            assert stat.S_IMODE(short_path.stat().st_mode) == 0o666

    def test_close_removes_the_file(self, short_path):
        with bound(unix("s")):
            pass
        assert not short_path.exists()

    def test_close_in_another_directory_removes_the_file(self, short_path, monkeypatch):
        with bound(unix("s")):
            monkeypatch.chdir("/")
        assert not short_path.exists()

    def test_close_twice_is_harmless(self, short_path):
        with bound(unix("s")) as [sock]:
            sock.close()
        assert not short_path.exists()

    def test_close_leaves_the_file_of_a_successor(self, short_path):
        with bound(unix("s")):
            short_path.rename(short_path.with_name("old"))
            short_path.touch()
        assert short_path.exists()

    def test_close_in_a_forked_worker_leaves_the_file(self, short_path):
        code = (
            "import os; from gateway.process.sockets import bind_all;"
            "from gateway.settings.bind import Bind;"
            "[sock] = bind_all([Bind(path='s')]); pid = os.fork();\n"
            "if pid == 0: sock.close(); os._exit(0)\n"
            "os.waitpid(pid, 0); print(os.path.exists('s'))"
        )
        output = subprocess.check_output([sys.executable, "-c", code], text=True)
        assert output == "True\n"

    def test_stale_file_is_replaced(self, short_path):
        with listener(socket.AF_UNIX, "s"):
            pass
        assert short_path.exists()
        with bound(unix("s")):
            assert connects(socket.AF_UNIX, "s")

    @on_linux
    def test_live_socket_names_its_owner(self, short_path):
        with listener(socket.AF_UNIX, "s"):
            text = refusal(unix("s"))
        assert text.startswith(f"unix:{short_path} is taken by this process itself (pid ")

    def test_live_socket_is_left_alone(self, short_path):
        with listener(socket.AF_UNIX, "s"):
            refusal(unix("s"))
            assert connects(socket.AF_UNIX, "s")

    def test_regular_file_in_the_way_is_kept(self, short_path):
        short_path.write_text("precious")
        assert "there is a file, which is no socket" in refusal(unix("s"))
        assert short_path.read_text() == "precious"

    def test_directory_in_the_way_is_told(self, short_path):
        short_path.mkdir()
        assert "there is a directory, which is no socket" in refusal(unix("s"))

    def test_link_in_the_way_is_told(self, short_path):
        short_path.symlink_to("nowhere")
        assert "there is a symbolic link, which is no socket" in refusal(unix("s"))

    def test_missing_directory_is_told(self, tmp_path):
        assert f"there is no directory {tmp_path}/run" in refusal(unix(tmp_path / "run" / "s"))

    def test_long_path_is_told(self, tmp_path):
        assert "the path is longer than the 10" in refusal(unix(tmp_path / ("s" * 108)))


class TestUnixPermissions:
    def test_file_in_its_place_by_then_keeps_its_mode(self, short_path, monkeypatch):
        victim = short_path.with_name("victim")
        victim.touch(0o600)
        give = os.chown

        def chown(path, *args, **options):
            # Who owns the directory may do this at any moment, so also at this one.
            short_path.unlink()
            short_path.symlink_to(victim)
            give(path, *args, **options)

        monkeypatch.setattr(os, "chown", chown)
        with bound(unix("s"), owner=(os.geteuid(), os.getegid())):
            assert short_path.is_symlink()
        assert stat.S_IMODE(victim.stat().st_mode) == 0o600

    def test_umask_is_what_it_was(self, short_path):
        before = os.umask(0o027)
        try:
            with bound(unix("s")):
                assert os.umask(0o027) == 0o027
        finally:
            os.umask(before)

    def test_file_that_is_gone_already_is_no_fault(self, short_path, caplog, monkeypatch):
        with bound(unix("s")) as [sock]:
            # Somebody removes it after the last look.
            monkeypatch.setattr(sockets_module, "file_identity", lambda name: sock._file)
            short_path.unlink()
        assert caplog.messages == []

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may remove any file")
    def test_file_that_may_not_be_removed_is_told(self, short_path, caplog):
        with bound(unix("s")):
            short_path.parent.chmod(0o500)
        short_path.parent.chmod(0o700)
        assert caplog.messages == [f"unix:{short_path} stays: Permission denied"]

    def test_mode_is_as_asked_whatever_the_umask(self, short_path):
        before = os.umask(0o077)
        try:
            with bound(unix("s"), unix_mode=0o660):
                assert stat.S_IMODE(short_path.stat().st_mode) == 0o660
        finally:
            os.umask(before)

    @as_root
    def test_owner_is_as_asked(self, short_path):
        with bound(unix("s"), owner=(65534, 65533)):
            status = short_path.stat()
            assert (status.st_uid, status.st_gid) == (65534, 65533)

    @as_root
    def test_file_goes_when_it_cannot_be_given_away(self):
        # Not below pytest's directories, which only root may enter.
        with tempfile.TemporaryDirectory() as directory:
            os.chown(directory, 65534, -1)
            os.seteuid(65534)
            try:
                text = refusal(unix(f"{directory}/s"), owner=(1, 1))
            finally:
                os.seteuid(0)
            assert "cannot be given to user 1 and group 1: Operation not permitted\n" in text
            assert os.listdir(directory) == []


class TestUnixTogether:
    def test_of_gateways_that_start_at_once_one_gets_a_stale_file(self, short_path):
        code = (
            "import sys; from gateway.process.sockets import bind_all;"
            "from gateway.errors import StartError; from gateway.settings.bind import Bind\n"
            "print('loaded', flush=True); sys.stdin.readline()\n"
            "try: bound = bind_all([Bind(path='s')]); print('bound', flush=True)\n"
            "except StartError as error: print(error, flush=True)\n"
            "sys.stdin.readline()"
        )
        with listener(socket.AF_UNIX, "s"):
            pass
        pipe = subprocess.PIPE
        starts = [
            subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True)
            for _ in range(3)
        ]
        try:
            for each in starts:
                assert each.stdout.readline() == "loaded\n"
            for each in starts:
                print("go", file=each.stdin, flush=True)
            answers = [each.stdout.readline() for each in starts]
            assert connects(socket.AF_UNIX, "s")
        finally:
            for each in starts:
                each.communicate()
        assert answers.count("bound\n") == 1
        assert sum(" is taken by pid " in answer for answer in answers) == 2

    def test_server_that_does_not_accept_is_left_alone(self, short_path):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind("s")
            sock.listen(0)
            with socket.socket(socket.AF_UNIX) as waiting:
                waiting.connect("s")
                text = refusal(unix("s"))
        assert "is taken by another process, which does not accept\n" in text


def served(sock):
    """Take the connection that waits at `sock`; whether there was one."""
    sock.setblocking(False)
    try:
        connection, _ = sock.accept()
    except BlockingIOError:
        return False
    connection.close()
    return True


def receivers(port, sockets, *, connections):
    """Which of `sockets`, by index, are given one or more of so many connections."""
    found = set()
    for _ in range(connections):
        with socket.create_connection(("127.0.0.1", port)):
            select.select(sockets, [], [], 5)
            found |= {index for index, each in enumerate(sockets) if served(each)}
    return found


def queue_of(sibling, sock):
    """A socket and its sibling as a new binary inherits them: under numbers of its own."""
    first = sock.as_inherited()
    return [
        InheritedSocket(os.dup(first.fd), f"127.0.0.1:{sock.port}", owned=True),
        InheritedSocket(os.dup(sibling.fileno()), first.name, owned=True, queue=True),
    ]


def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


class TestSiblings:
    @on_linux
    def test_connections_are_spread_over_all(self):
        with (
            bound(tcp(), reuse_port=True) as [sock],
            sock.sibling() as second,
            sock.sibling() as third,
        ):
            # That one of three stays without 120 times: (2/3) ** 120 < 1e-21
            sockets = [sock.socket, second, third]
            assert receivers(sock.port, sockets, connections=120) == {0, 1, 2}

    @on_linux
    def test_queue_is_its_own(self):
        with bound(tcp(), reuse_port=True) as [sock], sock.sibling() as sibling:
            assert sibling.fileno() != sock.socket.fileno()
            assert sibling.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
            assert len(receivers(sock.port, [sock.socket, sibling], connections=1)) == 1

    @on_linux
    def test_queue_of_a_former_gateway_goes_on_with_what_waits_in_it(self):
        with bound(tcp(), reuse_port=True) as [old], old.sibling() as former:
            told = queue_of(former, old)
            with bound(tcp(port=old.port), inherited=told, reuse_port=True) as [new]:
                # As the former gateway leaves: its descriptors go, the queue does not.
                old.forget()
                clients = [socket.create_connection(("127.0.0.1", new.port)) for _ in range(40)]
                former.close()
                with new.sibling() as sibling:
                    count = sum(served(new.socket) for _ in range(40))
                    assert 0 < count < 40  # or nothing waited there: 2 ** -39
                    assert sum(served(sibling) for _ in range(40)) == 40 - count
                for client in clients:
                    client.close()

    @on_linux
    def test_further_ones_are_new(self):
        with bound(tcp(), reuse_port=True) as [old], old.sibling() as former:
            told = queue_of(former, old)
            with bound(tcp(port=old.port), inherited=told, reuse_port=True) as [new]:
                three = [former, new.sibling(), new.sibling()]
                inodes = [os.fstat(each.fileno()).st_ino for each in three]
                for each in three[1:]:
                    each.close()
        assert inodes[0] == inodes[1]
        assert inodes[0] != inodes[2]

    @on_linux
    def test_queue_that_no_worker_takes_is_closed_when_the_former_gateway_leaves(self):
        with bound(tcp(), reuse_port=True) as [old], old.sibling() as former:
            told = queue_of(former, old)
            with bound(tcp(port=old.port), inherited=told, reuse_port=True) as [new]:
                os.fstat(told[1].fd)
                new.take_over()
                assert not is_open(told[1].fd)

    @on_linux
    def test_queue_of_an_address_that_left_is_closed(self):
        with bound(tcp(), reuse_port=True) as [old], old.sibling() as former:
            told = queue_of(former, old)[1:]
            with bound(tcp(), inherited=told, reuse_port=True):
                assert not is_open(told[0].fd)

    def test_without_reuse_port_it_is_the_same_queue(self):
        with bound(tcp()) as [sock], sock.sibling() as sibling:
            assert receivers(sock.port, [sibling], connections=20) == {0}
            assert not served(sock.socket)

    def test_of_a_unix_socket_it_is_the_same_queue(self, short_path):
        with bound(unix("s"), reuse_port=True) as [sock], sock.sibling() as sibling:
            assert connects(socket.AF_UNIX, "s")
            assert served(sibling)

    def test_of_an_adopted_socket_it_is_the_same_queue(self):
        with listener() as given, bound(Bind(fd=os.dup(given.fileno())), reuse_port=True) as [sock]:
            with sock.sibling() as sibling:
                assert receivers(sock.port, [sibling], connections=1) == {0}
            assert not given.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)

    def test_does_not_block_and_is_not_inherited(self):
        with bound(tcp(), reuse_port=True) as [sock], sock.sibling() as sibling:
            assert not sibling.getblocking()
            assert not sibling.get_inheritable()

    @needs_ipv6
    def test_of_the_ipv6_wildcard_takes_ipv4_too(self):
        with bound(tcp("::"), reuse_port=True) as [sock], sock.sibling() as sibling:
            assert not sibling.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)

    @on_linux
    def test_second_server_does_not_share_the_port_unnoticed(self):
        with bound(tcp(), reuse_port=True) as [sock]:
            assert " is taken by this process itself" in refusal(
                tcp(port=sock.port), reuse_port=True
            )

    def test_server_that_shares_its_port_is_noticed(self):
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(("127.0.0.1", 0))
            other.listen()
            text = refusal(tcp(port=other.getsockname()[1]), reuse_port=True)
        assert " is taken by " in text

    def test_system_without_the_option_is_told(self, monkeypatch):
        monkeypatch.delattr(socket, "SO_REUSEPORT")
        assert refusal(tcp(), reuse_port=True).startswith("reuse-port: this system has no SO_REUSE")


class TestDescriptor:
    def test_listening_socket_is_taken_over(self):
        with listener() as given, bound(Bind(fd=os.dup(given.fileno()))) as [sock]:
            assert sock.url() == f"http://127.0.0.1:{given.getsockname()[1]}"

    def test_bound_socket_is_made_to_listen(self):
        with socket.socket() as given:
            given.bind(("127.0.0.1", 0))
            with bound(Bind(fd=os.dup(given.fileno()))):
                assert connects(socket.AF_INET, given.getsockname())

    def test_does_not_block(self):
        with listener() as given:
            given.setblocking(True)
            with bound(Bind(fd=os.dup(given.fileno()))) as [sock]:
                assert not sock.socket.getblocking()

    def test_file_of_an_inherited_unix_socket_is_kept(self, short_path):
        with listener(socket.AF_UNIX, "s") as given:
            with bound(Bind(fd=os.dup(given.fileno()))) as [sock]:
                assert sock.url() == "unix:s"
            assert short_path.exists()

    def test_closed_descriptor_is_told(self):
        with socket.socket() as given:
            number = given.fileno()
        assert refusal(Bind(fd=number)).startswith(f"fd://{number} is not open in this process")

    def test_impossible_number_is_told(self):
        assert "is not open in this process" in refusal(Bind(fd=1 << 40))

    def test_regular_file_is_told(self, tmp_path):
        with open(tmp_path / "file", "w") as file:
            assert "is not a socket" in refusal(Bind(fd=file.fileno()))

    def test_datagram_socket_is_told(self):
        with socket.socket(type=socket.SOCK_DGRAM) as given:
            assert "is a AF_INET SOCK_DGRAM socket" in refusal(Bind(fd=given.fileno()))

    def test_unbound_socket_is_told(self):
        with socket.socket() as given:
            assert "is not bound to an address" in refusal(Bind(fd=given.fileno()))

    def test_connection_is_told(self):
        ours, theirs = socket.socketpair()
        with closing(ours), closing(theirs):
            assert "is a connection" in refusal(Bind(fd=ours.fileno()))

    def test_refused_socket_stays_open(self):
        with socket.socket() as given:
            refusal(Bind(fd=given.fileno()))
            assert given.getsockname()[1] == 0
