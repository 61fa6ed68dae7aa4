"""The system calls that judged code may make, by name and number, for x86_64 and aarch64.

A list of what is allowed, not of what is denied: a call that nobody thought of, or that a later kernel adds, is
refused. It holds what CPython needs to compute, to time itself, to read its own library, to run threads and an event
loop; nothing that writes a file, opens a socket to somebody, starts or touches another process.
"""

from __future__ import annotations

ALWAYS = {
    "x86_64": """
    read=0 write=1 readv=19 writev=20 pread64=17 preadv=295 close=3 close_range=436 lseek=8 fstat=5 newfstatat=262
    stat=4 lstat=6 statx=332 access=21 faccessat=269 faccessat2=439 readlink=89 readlinkat=267 getcwd=79 getdents=78
    getdents64=217 dup=32 dup2=33 dup3=292 pipe=22 pipe2=293 poll=7 ppoll=271 select=23 pselect6=270 epoll_create=213
    epoll_create1=291 epoll_ctl=233 epoll_wait=232 epoll_pwait=281 epoll_pwait2=441 eventfd2=290 mmap=9 munmap=11
    mprotect=10 mremap=25 madvise=28 brk=12 msync=26 mincore=27 membarrier=324 futex=202 futex_waitv=449
    set_robust_list=273 set_tid_address=218 rseq=334 sched_yield=24 getcpu=309 rt_sigaction=13
    rt_sigprocmask=14 rt_sigreturn=15 rt_sigpending=127 rt_sigsuspend=130 rt_sigtimedwait=128 sigaltstack=131
    restart_syscall=219 clock_gettime=228 clock_getres=229 clock_nanosleep=230 nanosleep=35 gettimeofday=96 time=201
    times=100 getitimer=36 setitimer=38 alarm=37 pause=34 timer_create=222 timer_settime=223 timer_gettime=224
    timer_getoverrun=225 timer_delete=226 timerfd_create=283 timerfd_settime=286 timerfd_gettime=287 getpid=39
    gettid=186 getppid=110 getpgrp=111 getuid=102 geteuid=107 getgid=104 getegid=108
    getresuid=118 getresgid=120 getgroups=115 getrlimit=97 setrlimit=160 getrusage=98 uname=63
    sysinfo=99 umask=95 getrandom=318 arch_prctl=158 exit=60 exit_group=231 wait4=61 waitid=247 recvfrom=45
    shutdown=48 getsockname=51 getpeername=52 getsockopt=55 setsockopt=54 fsync=74 fdatasync=75 fadvise64=221
    """,
    "aarch64": """
    read=63 write=64 readv=65 writev=66 pread64=67 preadv=69 close=57 close_range=436 lseek=62 fstat=80 newfstatat=79
    statx=291 faccessat=48 faccessat2=439 readlinkat=78 getcwd=17 getdents64=61 dup=23 dup3=24 pipe2=59 ppoll=73
    pselect6=72 epoll_create1=20 epoll_ctl=21 epoll_pwait=22 epoll_pwait2=441 eventfd2=19 mmap=222 munmap=215
    mprotect=226 mremap=216 madvise=233 brk=214 msync=227 mincore=232 membarrier=283 futex=98 futex_waitv=449
    set_robust_list=99 set_tid_address=96 rseq=293 sched_yield=124 getcpu=168 rt_sigaction=134
    rt_sigprocmask=135 rt_sigreturn=139 rt_sigpending=136 rt_sigsuspend=133 rt_sigtimedwait=137 sigaltstack=132
    restart_syscall=128 clock_gettime=113 clock_getres=114 clock_nanosleep=115 nanosleep=101 gettimeofday=169
    times=153 getitimer=102 setitimer=103 timer_create=107 timer_settime=110 timer_gettime=108 timer_getoverrun=109
    timer_delete=111 timerfd_create=85 timerfd_settime=86 timerfd_gettime=87 getpid=172 gettid=178 getppid=173
    getuid=174 geteuid=175 getgid=176 getegid=177 getresuid=148 getresgid=150 getgroups=158
    getrlimit=163 setrlimit=164 getrusage=165 uname=160 sysinfo=179 umask=166 getrandom=278 exit=93
    exit_group=94 wait4=260 waitid=95 recvfrom=207 shutdown=210 getsockname=204 getpeername=205 getsockopt=209
    setsockopt=208 fsync=82 fdatasync=83 fadvise64=223
    """,
}

# Allowed by what they are asked for; ``filters.py`` says how.
ASKED = {
    "x86_64": """
    clone=56 kill=62 tgkill=234 socketpair=53 sendto=44 ioctl=16 fcntl=72 prctl=157 prlimit64=302 open=2 openat=257
    getpgid=121 getsid=124 sched_getaffinity=204
    """,
    "aarch64": """
    clone=220 kill=129 tgkill=131 socketpair=199 sendto=206 ioctl=29 fcntl=25 prctl=167 prlimit64=261 openat=56
    getpgid=155 getsid=156 sched_getaffinity=123
    """,
}

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000

# A C library falls back to an older call only where the newer one answers "no such call".
NEWER_THAN_FALLBACK = 435


def table(text: str) -> dict[str, int]:
    """``name=number`` words as a mapping."""
    return {name: int(number) for name, _, number in (word.partition("=") for word in text.split())}
