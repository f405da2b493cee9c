"""The methods of CBProcess that concern drivers and the machine rather than a filter. They need no
initialize(): a program calls them before it can start at all."""

from __future__ import annotations

from .._checks import UINT32_MAX, checked_bool, checked_int, checked_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def initiate_shutdown(prompt: bytes, timeout: int, force_close_apps: bool, reboot: bool) -> bool:
    """The one call that shuts the machine down. Programs that test themselves put another function in its
    place (`cbprocess._api.installation.initiate_shutdown`), and nothing happens to the machine."""
    from ctypes import byref, c_uint32

    from .._binding import library

    initiated = c_uint32()
    library.load().cbp_system_shutdown(prompt, timeout, force_close_apps, reboot, byref(initiated))
    return initiated.value != 0


class Installation:
    """The methods for drivers and for the machine. They work before initialize(), too, in any thread, but not
    in a handler (error 1131). product_guid is the application's own GUID in braces; anything else, and a
    value of the wrong type, is error 87.

    The drivers for process trees (ptrace, debug) and the simulated one need no installation. They are
    running, and have the version of the package; there is nothing to install or to take away. The kernel
    driver and the bpf driver are installed for products: each has its own GUID, and they share a driver. With
    the GUID "{00000000-0000-0000-0000-000000000000}" the bpf driver runs from the package itself, and needs
    no installation."""

    __slots__ = ()

    def config(self, configuration_string: str) -> str:
        """CBProcess.config()."""
        raise NotImplementedError

    def get_driver_status(self, product_guid: str) -> int:
        """The MODULE_STATUS_ of this instance's driver (its Driver setting): NOT_PRESENT, STOPPED or RUNNING.
        A driver that is not installed is no error."""
        from ctypes import c_uint32

        return self._ask_driver("cbp_driver_status", product_guid, c_uint32())

    def get_driver_version(self, product_guid: str) -> int:
        """The version of this instance's driver: four 16-bit words, the major number highest
        (0x0002002000060000 for 2.32.6). 0 if it is not installed."""
        from ctypes import c_uint64

        return self._ask_driver("cbp_driver_version", product_guid, c_uint64())

    def install(
        self,
        cab_file_name: str | None,
        product_guid: str,
        path_to_install: str | None,
        flags: int,
        additional: int | None = None,
    ) -> bool:
        """Installs or updates this instance's driver. cab_file_name is the driver's package; for the bpf
        driver that is a folder, and "" or None stands for the one in this Python package. path_to_install
        is the folder for it, "" or None for the usual one. flags are INSTALL_ bits. additional is for
        programs that pass a fifth number, and means nothing. True if only a restart of the machine completes
        it.

        Where the driver needs no installation, nothing is done, the paths are not looked at, and no privilege
        is needed. The kernel driver is installed as a whole or not at all, and a newer one than the package's
        stays. Its errors: 1314 without administrative rights; 2 or 3 if the package or the folder is not
        there; 11 if the package is none, or for another machine; 13 if it is damaged; 577 if its signature is
        missing or does not hold on this machine; 183 if another product has a service of its name; 170 while
        another program installs it, or a restart has to complete an uninstall().

        The bpf driver's errors are these, as far as they can be, and 5 for a folder that others than root can
        change. Its versions lie side by side. A product keeps the older ones until
        INSTALL_REMOVE_OLD_VERSIONS or UNINSTALL_VERSION_PREVIOUS, and a filter uses the version of its own
        package, or else the newest."""
        if additional is not None:
            checked_int(additional, "additional", 0, UINT32_MAX)
        return self._change_driver(
            "cbp_driver_install", cab_file_name, product_guid, path_to_install, flags, "path_to_install"
        )

    def uninstall(
        self, cab_file_name: str | None, product_guid: str, installed_path: str | None, flags: int
    ) -> bool:
        """Takes this instance's driver away again; the arguments are those that install() got, but for flags,
        which are UNINSTALL_ bits. The rest is as for install(). The kernel driver goes with the last product
        that has installed it; it is found without the paths, which are not looked at. Errors: 2 if this
        product has not installed it, 87 if flags are 0."""
        return self._change_driver(
            "cbp_driver_uninstall", cab_file_name, product_guid, installed_path, flags, "installed_path"
        )

    def shutdown_system(
        self, shutdown_prompt: str | None, timeout: int, force_close_apps: bool, reboot: bool
    ) -> bool:
        """Shuts the machine down, or with reboot restarts it. A shutdown_prompt is shown to its users for
        timeout seconds (0 to 0xffffffff) before; with "" or None it begins at once. force_close_apps: do not
        wait for programs. False if that is not allowed to this process, or the system refuses.

        Linux: asks shutdown(8), which counts in minutes (the timeout is rounded up) and always ends programs
        that do not end by themselves, whatever force_close_apps says."""
        prompt = checked_text("" if shutdown_prompt is None else shutdown_prompt, "shutdown_prompt")
        seconds = checked_int(timeout, "timeout", 0, UINT32_MAX)
        force = checked_bool(force_close_apps, "force_close_apps")
        restart = checked_bool(reboot, "reboot")
        from .._binding.library import check_outside_handler

        check_outside_handler("shutting down")
        return initiate_shutdown(prompt, seconds, force, restart)

    def _driver(self) -> bytes:
        return self.config("Driver").encode("ascii")

    def _ask_driver(self, function: str, product_guid: str, result: Any) -> int:
        from ctypes import byref

        from .._binding import library

        guid = checked_text(product_guid, "product_guid")
        getattr(library.load(), function)(guid, self._driver(), byref(result))
        return int(result.value)

    def _change_driver(
        self, function: str, package: str | None, product_guid: str, folder: str | None, flags: int, name: str
    ) -> bool:
        from ctypes import byref, c_uint32

        from .._binding import library

        guid = checked_text(product_guid, "product_guid")
        path = checked_text("" if package is None else package, "cab_file_name")
        target = checked_text("" if folder is None else folder, name)
        bits = checked_int(flags, "flags", 0, UINT32_MAX)
        must_reboot = c_uint32()
        getattr(library.load(), function)(guid, self._driver(), path, target, bits, byref(must_reboot))
        return must_reboot.value != 0
