//! A complete monitor in Rust: starts a program under the filter, prints every process that it and its descendants
//! create and end, and refuses the programs named with --deny.
//!
//!     monitor [--deny PATTERN]... [--] PROGRAM [ARGUMENT]...
//!
//! The status is the program's own: its exit status, 128 + N after signal N, 126 or 127 if it could not be started,
//! 125 if the monitor itself failed.

use cbprocess::{Error, Event, Handler, Session, SpawnError};
use cbprocess::{ERROR_ACCESS_DENIED, PROC_EVT_PROCESS_CREATION, PROC_EVT_PROCESS_TERMINATION};
use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{exit, ExitStatus};

const STATUS_FAILED: i32 = 125;
const STATUS_NOT_EXECUTABLE: i32 = 126;
const STATUS_NOT_FOUND: i32 = 127;

struct Monitor {
    deny: Vec<OsString>,
}

impl Monitor {
    fn denies(&self, name: &OsStr) -> bool {
        self.deny.iter().any(|pattern| cbprocess::matches(pattern, name).unwrap_or(false))
    }
}

impl Handler for Monitor {
    fn event(&self, event: &mut Event<'_>) {
        let name = event.process_name().to_string_lossy().into_owned();
        let process_id = event.process_id();
        if event.kind() != PROC_EVT_PROCESS_CREATION {
            let status = ExitStatus::from_raw(event.exit_status());
            match status.signal() {
                Some(number) => eprintln!("ended    {process_id} {name}: signal {number}"),
                None => eprintln!("ended    {process_id} {name}: status {}", status.code().unwrap_or(-1)),
            }
        } else if self.denies(event.process_name()) {
            event.refuse(ERROR_ACCESS_DENIED);
            eprintln!("refused  {process_id} {name}");
        } else {
            eprintln!("created  {process_id} {name} (by {})", event.originator_process_id());
        }
    }

    fn error(&self, code: u32, text: &str) {
        eprintln!("monitor: error {code}: {text}");
    }
}

/// The patterns and the command; no command if the words are not as they should be.
fn parse(mut words: &[OsString]) -> (Vec<OsString>, &[OsString]) {
    let mut deny = Vec::new();
    while words.len() > 1 && words[0] == "--deny" {
        deny.push(words[1].clone());
        words = &words[2..];
    }
    match words.first().map(|word| word.to_string_lossy()) {
        Some(word) if word == "--" => (deny, &words[1..]),
        Some(word) if word.starts_with('-') => (deny, &[]),
        _ => (deny, words),
    }
}

fn started(deny: Vec<OsString>) -> Result<Session, Error> {
    let session = Session::new("{5A0C9E77-3D0B-4BD4-A2C9-0D6E1F4E8B52}", Monitor { deny })?;
    let events = PROC_EVT_PROCESS_CREATION | PROC_EVT_PROCESS_TERMINATION;
    session.config("EventsToFire", &events.to_string())?;
    session.start(0)?;
    Ok(session)
}

fn run(deny: Vec<OsString>, command: &[OsString]) -> Result<ExitStatus, SpawnError> {
    let session = started(deny)?;
    let status = session.spawn(&command[0], &command[1..])?.wait().map_err(SpawnError::Program)?;
    session.stop()?;
    Ok(status)
}

fn main() {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    let (deny, command) = parse(&words);
    if command.is_empty() {
        eprintln!("usage: monitor [--deny PATTERN]... [--] PROGRAM [ARGUMENT]...");
        exit(STATUS_FAILED);
    }
    exit(match run(deny, command) {
        Ok(status) => status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        Err(error) => {
            eprintln!("monitor: {}: {error}", command[0].to_string_lossy());
            match error {
                SpawnError::Program(cause) if cause.kind() == io::ErrorKind::NotFound => STATUS_NOT_FOUND,
                SpawnError::Program(_) => STATUS_NOT_EXECUTABLE,
                _ => STATUS_FAILED,
            }
        }
    });
}
