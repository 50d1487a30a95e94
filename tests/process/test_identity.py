from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys

import pytest

from gateway.errors import ConfigError, StartError
from gateway.process.identity import Identity, identity

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

ASSUME = """
import json, os, sys
from gateway.errors import GatewayError
from gateway.process.identity import identity
try:
    found = identity(*json.loads(sys.argv[1]))
    exec(sys.argv[2])
    found.assume()
except GatewayError as error:
    print(json.dumps({"error": str(error), "code": error.exit_code}))
    sys.exit()
def refused(change, number):
    try:
        change(number)
    except PermissionError:
        return True
    return False
print(json.dumps({
    "uids": os.getresuid(), "gids": os.getresgid(), "groups": sorted(os.getgroups()),
    "safe": refused(os.setuid, 0) and refused(os.setgid, 0) and refused(os.setgroups, [0]),
    "home": os.environ.get("HOME"), "user": os.environ.get("USER"),
    "logname": os.environ.get("LOGNAME"),
}))
"""


def assumed(user, group=None, *, before=""):
    """What a process is after it has become `user` and `group`."""
    environ = {**os.environ, "HOME": "/root", "USER": "root", "LOGNAME": "root"}
    command = [sys.executable, "-c", ASSUME, json.dumps([user, group]), before]
    return json.loads(subprocess.check_output(command, env=environ))


def free_uid():
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    return next(uid for uid in range(54321, 60000) if uid not in taken)


class TestLookup:
    def test_nothing_asked_for_is_nothing(self):
        assert identity(None, None) is None

    def test_user_that_this_process_is_already_is_nothing(self):
        assert identity(str(os.geteuid()), str(os.getegid())) is None

    def test_unknown_user_is_told(self):
        with pytest.raises(ConfigError, match=r"^there is no user no-such-user\n"):
            identity("no-such-user", None)

    def test_unknown_group_is_told(self):
        with pytest.raises(ConfigError, match=r"^there is no group no-such-group\n"):
            identity(None, "no-such-group")

    @pytest.mark.parametrize("text", ["-1", "4294967295", "٣", ""])
    def test_impossible_number_is_told(self, text):
        with pytest.raises(ConfigError, match="there is no user"):
            identity(text, None)

    @as_root
    def test_group_is_the_users_own(self):
        entry = pwd.getpwnam("nobody")
        found = identity("nobody", None)
        assert (found.uid, found.gid, found.name) == (entry.pw_uid, entry.pw_gid, "nobody")

    @as_root
    def test_number_of_a_user_finds_its_name(self):
        uid = pwd.getpwnam("nobody").pw_uid
        assert identity(str(uid), None) == identity("nobody", None)

    @as_root
    def test_group_by_name(self):
        found = identity("nobody", "daemon")
        gid = grp.getgrnam("daemon").gr_gid
        assert found.gid == gid
        assert gid in found.groups

    @as_root
    def test_group_alone_keeps_the_user(self):
        found = identity(None, "daemon")
        assert (found.uid, found.gid) == (os.geteuid(), grp.getgrnam("daemon").gr_gid)

    @as_root
    def test_number_without_an_entry_needs_a_group(self):
        with pytest.raises(ConfigError, match="so its group is unknown\n  name the group"):
            identity(str(free_uid()), None)

    @as_root
    def test_number_without_an_entry_and_a_group(self):
        uid = free_uid()
        assert identity(str(uid), "daemon") == Identity(
            uid=uid, gid=1, groups=(1,), name=None, home="/"
        )

    @as_root
    def test_process_that_is_not_root_is_told(self):
        os.seteuid(65534)
        try:
            with pytest.raises(ConfigError) as caught:
                identity("daemon", None)
        finally:
            os.seteuid(0)
        start = "user daemon: this process is not root (uid 65534) and may not change\n"
        assert str(caught.value).startswith(start)


@as_root
class TestAssume:
    def test_all_ids_change(self):
        uid, gid = pwd.getpwnam("nobody")[2:4]
        report = assumed("nobody")
        assert report["uids"] == [uid] * 3
        assert report["gids"] == [gid] * 3

    def test_roots_groups_are_gone(self):
        report = assumed("nobody", before="os.setgroups([0, 4, 27])")
        assert report["groups"] == sorted(os.getgrouplist("nobody", pwd.getpwnam("nobody").pw_gid))

    def test_root_cannot_be_regained(self):
        assert assumed("nobody")["safe"]

    def test_home_and_names_follow(self):
        report = assumed("nobody")
        assert report["home"] == pwd.getpwnam("nobody").pw_dir
        assert (report["user"], report["logname"]) == ("nobody", "nobody")

    def test_user_without_an_entry_has_no_name_and_the_root_directory(self):
        report = assumed(str(free_uid()), "daemon")
        assert (report["home"], report["user"], report["logname"]) == ("/", None, None)

    def test_group_alone_keeps_user_and_home(self):
        report = assumed(None, "daemon")
        assert (report["uids"], report["gids"]) == ([0] * 3, [1] * 3)
        assert (report["home"], report["user"]) == ("/root", "root")

    def test_system_that_refuses_is_told(self):
        # As in a container without the capabilities: another user's process tries it.
        report = assumed("nobody", before="os.setuid(54321)")
        assert report["code"] == StartError.exit_code
        start = "cannot become user nobody and group 65534: Operation not permitted\n"
        assert report["error"].startswith(start)
