"""The native library as Python sees it: functions, structures, callbacks. Not to be imported by users."""
