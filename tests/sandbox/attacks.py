"""Programs that try to break out, each on bait that the test itself has laid.

``attack(bait)`` returns ``done`` where it succeeded. Everything is bounded: processes, bytes, seconds.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Attack:
    name: str
    body: str
    works_unprotected: bool = True  # the same program succeeds without a sandbox, so that the test is no straw man
    wall_s: float = 3.0

    @property
    def code(self):
        lines = "\n".join(f"    {line}" for line in self.body.strip().split("\n"))
        return f"{TOOLS}\ndef attack(bait):\n{lines}\n    return 'done'\n"


TOOLS = """
import ctypes, os, resource, signal, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    result = libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def write(path):
    with open(path, "w") as file:
        file.write("was here")
    return os.path.exists(path)
"""

ATTACKS = [
    Attack("tcp_to_the_host", "socket.create_connection(('127.0.0.1', bait['tcp']), 1).sendall(b'hello')"),
    Attack(
        "udp_to_the_host",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'hello', ('127.0.0.1', bait['udp']))",
    ),
    Attack("unix_socket_by_path", "socket.socket(socket.AF_UNIX).connect(bait['folder'] + '/socket')"),
    Attack("abstract_unix_socket", "socket.socket(socket.AF_UNIX).connect('\\0' + bait['abstract'])"),
    Attack(
        "datagram_pair_to_a_host_socket",
        "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'hello', bait['folder'] + '/datagrams')",
    ),
    Attack("write_at_home", "write(bait['folder'] + '/written')", works_unprotected=False),
    Attack("create_an_empty_file", "os.close(os.open(bait['folder'] + '/written', os.O_CREAT | os.O_WRONLY))"),
    Attack("write_in_tmp", "os.mkdir(f\"/tmp/{bait['name']}\")"),
    Attack("write_in_var_tmp", "os.mkdir(f\"/var/tmp/{bait['name']}\")"),
    Attack("write_in_shared_memory", "os.mkdir(f\"/dev/shm/{bait['name']}\")"),
    Attack("change_a_mode", "os.chmod(bait['folder'] + '/.aws/credentials', 0o777)"),
    Attack("change_a_time", "os.utime(bait['folder'] + '/.aws/credentials', (1, 1))"),
    Attack("delete_a_file", "os.unlink(bait['folder'] + '/doomed')"),
    Attack("read_a_secret", "assert 'hush' in open(bait['folder'] + '/.aws/credentials').read()"),
    Attack("list_a_folder", "assert '.aws' in os.listdir(bait['folder'])"),
    Attack("key_in_its_own_environment", "assert any('KEY' in name for name in os.environ)", works_unprotected=False),
    Attack(
        "key_in_the_environment_of_any_process",
        """
found = b''
for pid in ['1', str(os.getppid()), str(bait['victim'])]:
    try:
        found += open(f'/proc/{pid}/environ', 'rb').read()
    except OSError:
        pass
assert b'hush' in found
""",
    ),
    Attack(
        "memory_of_another_process",
        """
for pid in (bait['victim'], os.getppid(), 1):
    here = ctypes.create_string_buffer(8)
    local = struct.pack('QQ', ctypes.addressof(here), 8)
    remote = struct.pack('QQ', bait['address'] if pid == bait['victim'] else id(None), 8)
    if libc.process_vm_readv(pid, local, 1, remote, 1, 0) > 0:
        return 'done'
raise OSError('refused')
""",
    ),
    Attack("trace_another_process", "assert libc.ptrace(16, bait['victim'], 0, 0) == 0"),
    Attack("kill_another_process", "os.kill(bait['victim'], signal.SIGKILL)"),
    Attack("kill_all_it_may", "os.kill(bait['group'], signal.SIGKILL)"),
    Attack("kill_its_parent", "os.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(1)", works_unprotected=False),
    Attack("stop_another_by_pidfd", "signal.pidfd_send_signal(os.pidfd_open(bait['victim']), signal.SIGSTOP)"),
    Attack("lower_the_limits_of_another", "resource.prlimit(bait['victim'], resource.RLIMIT_NOFILE, (3, 3))"),
    Attack(
        "signal_by_descriptor_owner",
        """
import fcntl
fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, bait['victim'])
""",
    ),
    Attack(
        "fork_bomb",
        """
for _ in range(20):
    if os.fork() == 0:
        time.sleep(0.2)
        os._exit(0)
""",
    ),
    Attack("clone3", "call(435, bytes(64), 64)", works_unprotected=False),
    Attack("memory_bomb", "assert len(bytearray(2 << 30))", works_unprotected=False),
    Attack(
        "memory_bomb_over_children",
        """
for _ in range(6):
    if os.fork() == 0:
        held = bytearray(10 << 20)
        os._exit(0)
    os.wait()
""",
    ),
    Attack("memory_in_a_memfd", "os.memfd_create('bomb')"),
    Attack("memory_in_a_segment", "call(29, 0, 1 << 20, 0o1600) if sys.maxsize else None", works_unprotected=False),
    Attack("fill_the_disk", "open(bait['folder'] + '/big', 'wb').write(bytes(64 << 20))", works_unprotected=False),
    Attack(
        "leave_a_daemon",
        """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1)
    os._exit(0)
os.wait()
""",
    ),
    Attack("exec_a_shell", "import subprocess\nassert subprocess.run(['/bin/sh', '-c', 'exit 7']).returncode == 7"),
    Attack("spawn_a_shell", "os.waitpid(os.posix_spawn('/bin/sh', ['sh', '-c', 'exit 0'], {}), 0)"),
    Attack("system", "import posix\nassert posix.system('exit 0') == 0"),
    Attack("new_user_namespace", "assert libc.unshare(0x10000000) == 0, ctypes.get_errno()"),
    Attack(
        "raise_its_own_limits",
        "resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))",
        works_unprotected=False,
    ),
    Attack("become_root", "os.setuid(0)\nassert libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0", False),
    Attack("regain_capabilities", "call(126, struct.pack('Ii', 0x20080522, 0), b'\\xff' * 24)", False),
    Attack("set_the_clock", "time.clock_settime(time.CLOCK_REALTIME, 0)", works_unprotected=False),
    Attack("key_ring", "call(250, 0, -3, 0)", works_unprotected=False),
    Attack("io_uring", "call(425, 1, bytes(120))", works_unprotected=False),
    Attack("bpf", "call(321, 0, bytes(64), 64)", works_unprotected=False),
    Attack("watch_files", "assert libc.inotify_init() >= 0"),
    Attack("plant_a_symlink", "os.symlink('/etc/passwd', bait['folder'] + '/verdict')"),
    Attack("type_into_a_terminal", "import fcntl\nfcntl.ioctl(os.open('/dev/tty', os.O_RDWR), 0x5412, b'x')", False),
    Attack("outlive_by_no_parent_death_signal", "assert libc.prctl(1, 0) == 0"),
]

ENDLESS = {
    "endless_loop": "while True:\n    pass",
    "endless_output": "while True:\n    print('x' * 65536)",
    "endless_errors": "while True:\n    os.write(2, b'x' * 65536)",
    "ignoring_every_signal": (
        "for number in range(1, 32):\n"
        "    try:\n        signal.signal(number, signal.SIG_IGN)\n    except OSError:\n        pass\n"
        "while True:\n    pass"
    ),
    "sleeping": "time.sleep(1000)",
    "stopping_itself": "os.kill(os.getpid(), signal.SIGSTOP)",
    "waiting_for_a_lock": "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
    "catastrophic_pattern": "import re\nre.match(r'(a+)+$', 'a' * 64 + 'b')",
    "a_power_of_a_power": "10 ** (10 ** 9)",
}
