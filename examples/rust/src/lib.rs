//! A safe wrapper of the cbprocess C library: a `Session` owns its handler and stops when it is dropped, an `Event`
//! lives as long as the handler runs, a code that is not 0 is an `Error`.
//!
//! Knows nothing of what is done with events; `sys` has the C declarations.

mod launch;
pub mod sys;

pub use launch::SpawnError;

use std::ffi::{CStr, CString, OsStr};
use std::fmt;
use std::os::raw::c_char;
use std::os::unix::ffi::OsStrExt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::null_mut;

pub use sys::{ERROR_ACCESS_DENIED, PROC_EVT_PROCESS_CREATION, PROC_EVT_PROCESS_TERMINATION};

/// A Win32 error code of the library and its sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub code: u32,
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (error {})", self.message, self.code)
    }
}

impl std::error::Error for Error {}

fn check(code: u32) -> Result<(), Error> {
    if code == 0 {
        return Ok(());
    }
    let text = |pointer| unsafe { CStr::from_ptr(pointer) }.to_string_lossy();
    let message =
        unsafe { format!("{} {}", text(sys::cbp_error_message(code)), text(sys::cbp_error_detail())) };
    Err(Error { code, message })
}

/// An event while its handler runs; the operation waits as long.
pub struct Event<'a> {
    raw: &'a mut sys::cbp_event,
}

impl Event<'_> {
    /// One of the PROC_EVT_ bits.
    pub fn kind(&self) -> u32 {
        self.raw.r#type
    }

    pub fn process_id(&self) -> u32 {
        self.raw.process_id
    }

    pub fn originator_process_id(&self) -> u32 {
        self.raw.originator_process_id
    }

    /// A wait status, as `std::os::unix::process::ExitStatusExt::from_raw` takes it.
    pub fn exit_status(&self) -> i32 {
        self.raw.exit_status as i32
    }

    /// The path of the executable; any bytes that a path can have.
    pub fn process_name(&self) -> &OsStr {
        let (offset, size) = (self.raw.process_name_offset, self.raw.process_name_size);
        let start = self.raw as *const sys::cbp_event as *const u8;
        // The library has laid the text into the event's own memory, which lives as long as self.
        OsStr::from_bytes(unsafe { std::slice::from_raw_parts(start.add(offset as usize), size as usize) })
    }

    /// Refuses the operation with this code when the handler returns.
    pub fn refuse(&mut self, code: u32) {
        self.raw.result_code = code;
    }
}

/// What a session calls, in several worker threads at once.
pub trait Handler: Send + Sync + 'static {
    fn event(&self, event: &mut Event<'_>);

    /// Something failed outside any call; a panic of `event` is told here, too.
    fn error(&self, _code: u32, _text: &str) {}
}

type Shared = Box<dyn Handler>;

/// A filter with its handler. Must not be dropped inside its own handler: it stays active then.
pub struct Session {
    raw: *mut sys::cbp_session,
    handler: *mut Shared, // made by Box::into_raw; the library holds the address, too
}

// The library's functions may be called from any thread, and a Handler is Sync.
unsafe impl Send for Session {}
unsafe impl Sync for Session {}

impl Session {
    /// `product_guid` is the application's own GUID in braces.
    pub fn new(product_guid: &str, handler: impl Handler) -> Result<Session, Error> {
        let guid = c_string(product_guid.as_bytes())?;
        let mut session =
            Session { raw: null_mut(), handler: Box::into_raw(Box::new(Box::new(handler) as Shared)) };
        check(unsafe { sys::cbp_session_create(guid.as_ptr(), &mut session.raw) })?;
        let callbacks = sys::cbp_callbacks {
            size: std::mem::size_of::<sys::cbp_callbacks>() as u32,
            reserved: 0,
            context: session.handler as usize as u64,
            event: Some(call_event),
            error: Some(call_error),
            worker: None,
        };
        check(unsafe { sys::cbp_session_set_callbacks(session.raw, &callbacks) })?;
        Ok(session)
    }

    pub fn config(&self, name: &str, value: &str) -> Result<(), Error> {
        let (name, value) = (c_string(name.as_bytes())?, c_string(value.as_bytes())?);
        check(unsafe { sys::cbp_session_set_config(self.raw, name.as_ptr(), value.as_ptr()) })
    }

    /// `timeout_ms`: how long an operation waits for its handler; 0 (no limit) or at least 3000.
    pub fn start(&self, timeout_ms: u32) -> Result<(), Error> {
        check(unsafe { sys::cbp_session_start(self.raw, timeout_ms) })
    }

    /// Waits until all handlers have returned, unless it is called in one.
    pub fn stop(&self) -> Result<(), Error> {
        check(unsafe { sys::cbp_session_stop(self.raw, 0) })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The handler may be freed only once no worker can call it any more.
        if unsafe { sys::cbp_session_destroy(self.raw) } == 0 {
            drop(unsafe { Box::from_raw(self.handler) });
        }
    }
}

/// Whether a name rule with this pattern would match this name.
pub fn matches(pattern: &OsStr, name: &OsStr) -> Result<bool, Error> {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let mut result = 0;
    check(unsafe {
        sys::cbp_pattern_match(
            pattern.as_ptr(),
            pattern.len() as u64,
            name.as_ptr(),
            name.len() as u64,
            &mut result,
        )
    })?;
    Ok(result != 0)
}

fn c_string(bytes: &[u8]) -> Result<CString, Error> {
    CString::new(bytes)
        .map_err(|_| Error { code: 87, message: "a text must not contain a NUL character".to_string() })
}

/// # Safety
/// `context` is that of a living session.
unsafe fn handler_of<'a>(context: u64) -> &'a dyn Handler {
    (*(context as usize as *const Shared)).as_ref()
}

// No panic may unwind through the library's frames.
unsafe extern "C" fn call_event(raw: *mut sys::cbp_event) {
    let handler = handler_of((*raw).context);
    let mut event = Event { raw: &mut *raw };
    if catch_unwind(AssertUnwindSafe(|| handler.event(&mut event))).is_err() {
        let tell = || handler.error(sys::ERROR_UNHANDLED_EXCEPTION, "an event handler panicked");
        let _ = catch_unwind(AssertUnwindSafe(tell));
    }
}

unsafe extern "C" fn call_error(context: u64, code: u32, text: *const c_char) {
    let handler = handler_of(context);
    let text = CStr::from_ptr(text).to_string_lossy();
    let _ = catch_unwind(AssertUnwindSafe(|| handler.error(code, &text)));
}
