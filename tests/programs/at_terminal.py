"""Executes a program with standard input as its controlling terminal: at_terminal.py PROGRAM ARGUMENT..."""

import fcntl
import os
import sys
import termios

os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
