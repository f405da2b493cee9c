//! Starting a program under the filter: the launcher program goes first and becomes it.

use crate::{c_string, check, sys, Error, Session};
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::ptr::null_mut;

/// Why a program does not run.
#[derive(Debug)]
pub enum SpawnError {
    /// It could not be executed, or was refused.
    Program(io::Error),
    /// The launcher could not be started.
    Launcher(io::Error),
    Library(Error),
}

impl fmt::Display for SpawnError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnError::Program(error) => write!(formatter, "{error}"),
            SpawnError::Launcher(error) => write!(formatter, "the launcher does not start: {error}"),
            SpawnError::Library(error) => write!(formatter, "{error}"),
        }
    }
}

impl std::error::Error for SpawnError {}

impl From<Error> for SpawnError {
    fn from(error: Error) -> SpawnError {
        SpawnError::Library(error)
    }
}

impl Session {
    /// Starts a program, looked up as execvp does, and filters it and its descendants.
    pub fn spawn(&self, program: &OsStr, arguments: &[OsString]) -> Result<Child, SpawnError> {
        let launcher = launcher_path()?;
        let (argument0, paths) = (c_string(program.as_bytes())?, candidate_paths(program));
        let (mut fd, mut launch) = (-1, null_mut());
        check(unsafe {
            sys::cbp_launch_begin(
                self.raw,
                argument0.as_ptr(),
                paths.as_ptr(),
                paths.len() as u64,
                1,
                &mut fd,
                &mut launch,
            )
        })?;

        // The launcher's own name tells it the descriptor, which it inherits.
        let mut command = Command::new(launcher);
        command.arg0(format!("cbprocess-launch {fd}")).args(arguments);
        unsafe {
            command.pre_exec(move || match sys::fcntl(fd, sys::F_SETFD, 0) {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            })
        };
        let spawned = command.spawn();

        let mut os_error = 0;
        let finished =
            check(unsafe { sys::cbp_launch_finish(launch, spawned.is_ok() as u32, 0, &mut os_error) });
        let mut child = spawned.map_err(SpawnError::Launcher)?;
        if finished.is_ok() && os_error == 0 {
            return Ok(child);
        }
        child.wait().map_err(SpawnError::Launcher)?;
        finished?;
        Err(SpawnError::Program(io::Error::from_raw_os_error(os_error as i32)))
    }
}

fn launcher_path() -> Result<OsString, Error> {
    let mut needed = 0;
    unsafe { sys::cbp_launcher_path(null_mut(), 0, &mut needed) };
    let mut buffer = vec![0; needed as usize];
    check(unsafe { sys::cbp_launcher_path(buffer.as_mut_ptr(), needed, &mut needed) })?;
    buffer.pop(); // its NUL
    Ok(OsString::from_vec(buffer))
}

/// The files that execvp would try, each with a NUL behind it.
fn candidate_paths(program: &OsStr) -> Vec<u8> {
    let mut paths = Vec::new();
    if program.as_bytes().contains(&b'/') {
        paths.extend_from_slice(program.as_bytes());
        paths.push(0);
        return paths;
    }
    let folders = env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    for folder in folders.as_bytes().split(|&byte| byte == b':') {
        paths.extend_from_slice(if folder.is_empty() { b"." } else { folder });
        paths.push(b'/');
        paths.extend_from_slice(program.as_bytes());
        paths.push(0);
    }
    paths
}
