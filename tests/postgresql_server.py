"""A throw-away PostgreSQL server for tests of stores: one for all processes of tests, begun by the first that asks.

It listens on a socket in a folder of its own, and never as root, which it refuses.
"""

import fcntl
import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path
from urllib.parse import quote

FOLDER = "STEELYARD_TEST_SERVER"
"""Names the folder to every process of tests."""
ASKED_FOR_A_PASSWORD = "locked"
"""Whose members are; all others are believed."""
ABSENT = "no PostgreSQL server can be started here"
SETTINGS = ("fsync=off", "full_page_writes=off", "listen_addresses=", "shared_buffers=16MB", "max_connections=60")
numbers = count()


def missing():
    """What a server lacks here; "" where nothing is."""
    try:
        import psycopg  # noqa: F401 - looked for, not used
    except ImportError:
        return "the package psycopg"
    return "" if _binary("initdb") and _binary("pg_ctl") else "the programs of PostgreSQL"


def address(name, *, user="steelyard", password=""):
    """The URL of a store that lies in a schema of this name."""
    folder = _running()
    secret = f":{quote(password, safe='')}" if password else ""
    return f"postgresql://{user}{secret}@/steelyard?host={folder}&options=-csearch_path%3D{name}"


def new_schema():
    """A schema that nobody else has."""
    name = f"store_{os.getpid()}_{next(numbers)}"
    sql(f"CREATE SCHEMA {name}")
    return name


def sql(*statements, schema="public"):
    """Say these to the server, and return the rows of the last one, if it has any."""
    import psycopg

    with psycopg.connect(f"host={_running()} user=steelyard dbname=steelyard", autocommit=True) as connection:
        connection.execute(f"SET search_path TO {schema}")
        cursor = None
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor is not None and cursor.description else []


def make_folder():
    """By the process that begins all others: where the server will be, should it be asked for."""
    if FOLDER not in os.environ and not missing():
        folder = tempfile.mkdtemp(prefix="steelyard-pg-", dir="/tmp")
        if (owner := _owner()) is not None:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        os.environ[FOLDER] = folder
        return folder
    return None


def end(folder):
    """By the same process: end the server, if there is one, and remove all that it wrote."""
    del os.environ[FOLDER]
    if (Path(folder) / "data/postmaster.pid").exists():
        with suppress(subprocess.CalledProcessError):
            _run("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "-w", "stop")
    shutil.rmtree(folder, ignore_errors=True)


def folder():
    """Where the socket of the server is, which is started where it does not run yet."""
    return _running()


def _running():
    """The folder of the server, which is started where it does not run yet."""
    folder = os.environ[FOLDER]
    with open(f"{folder}/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (Path(folder) / "ready").exists():
            _start(folder)
            (Path(folder) / "ready").touch()
    return folder


def _start(folder):
    options = ["-U", "steelyard", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    _run("initdb", "-D", f"{folder}/data", *options)
    rules = Path(f"{folder}/data/pg_hba.conf")
    rules.write_text(f"local all +{ASKED_FOR_A_PASSWORD} scram-sha-256\n{rules.read_text()}")
    settings = " ".join(f"-c {setting}" for setting in SETTINGS)
    _run("pg_ctl", "-D", f"{folder}/data", "-l", f"{folder}/log", "-w", "-o", f"-k {folder} {settings}", "start")
    import psycopg

    with psycopg.connect(f"host={folder} user=steelyard dbname=postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE steelyard")
        connection.execute(f"CREATE ROLE {ASKED_FOR_A_PASSWORD}")


def _run(program, *arguments):
    owner = _owner()
    who = {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    done = subprocess.run([_binary(program), *arguments], cwd="/", capture_output=True, text=True, **who)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, program, done.stdout, done.stderr)


def _owner():
    """Who the server runs as, where that cannot be us."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    return None


def _binary(name):
    """The newest there is: distributions keep each version in a folder of its own."""
    there = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return str(there[-1]) if there else shutil.which(name)
