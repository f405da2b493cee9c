//! The part of cbprocess.h that the wrapper uses, by hand. The test in it compares the structures and constants
//! with what the linked library says of itself.

#![allow(non_camel_case_types)]

use std::os::raw::{c_char, c_int};

pub const PROC_EVT_PROCESS_CREATION: u32 = 0x01;
pub const PROC_EVT_PROCESS_TERMINATION: u32 = 0x02;
pub const ERROR_ACCESS_DENIED: u32 = 5;
pub const ERROR_UNHANDLED_EXCEPTION: u32 = 574;

#[repr(C)]
pub struct cbp_session {
    _opaque: [u8; 0],
}

#[repr(C)]
pub struct cbp_launch_handle {
    _opaque: [u8; 0],
}

#[repr(C)]
pub struct cbp_event {
    pub size: u32,
    pub r#type: u32,
    pub result_code: u32,
    pub desired_access: u32,
    pub flags: u32,
    pub process_id: u32,
    pub thread_id: u32,
    pub parent_process_id: u32,
    pub originator_process_id: u32,
    pub originator_thread_id: u32,
    pub source_process_id: u32,
    pub target_process_id: u32,
    pub original_desired_access: u32,
    pub user_id: u32,
    pub exit_status: u32,
    pub capabilities: u32,
    pub sequence: u64,
    pub time_ns: u64,
    pub start_time: u64,
    pub deadline_ns: u64,
    pub context: u64,
    pub process_name_offset: u32,
    pub process_name_size: u32,
    pub image_file_name_offset: u32,
    pub image_file_name_size: u32,
    pub arguments_offset: u32,
    pub arguments_size: u32,
}

#[repr(C)]
pub struct cbp_callbacks {
    pub size: u32,
    pub reserved: u32,
    pub context: u64,
    pub event: Option<unsafe extern "C" fn(*mut cbp_event)>,
    pub error: Option<unsafe extern "C" fn(u64, u32, *const c_char)>,
    pub worker: Option<unsafe extern "C" fn(u64, *mut u8)>,
}

#[repr(C)]
pub struct cbp_abi_row {
    pub kind: *const c_char,
    pub owner: *const c_char,
    pub name: *const c_char,
    pub text: *const c_char,
    pub offset: u32,
    pub size: u32,
}

extern "C" {
    pub fn cbp_error_message(code: u32) -> *const c_char;
    pub fn cbp_error_detail() -> *const c_char;
    pub fn cbp_abi_rows(count: *mut u32) -> *const cbp_abi_row;
    pub fn cbp_pattern_match(
        pattern: *const u8,
        pattern_size: u64,
        name: *const u8,
        name_size: u64,
        matches: *mut u32,
    ) -> u32;
    pub fn cbp_session_create(guid: *const c_char, session: *mut *mut cbp_session) -> u32;
    pub fn cbp_session_destroy(session: *mut cbp_session) -> u32;
    pub fn cbp_session_set_callbacks(s: *mut cbp_session, callbacks: *const cbp_callbacks) -> u32;
    pub fn cbp_session_set_config(
        session: *mut cbp_session,
        name: *const c_char,
        value: *const c_char,
    ) -> u32;
    pub fn cbp_session_start(session: *mut cbp_session, timeout_ms: u32) -> u32;
    pub fn cbp_session_stop(session: *mut cbp_session, slice_ms: u32) -> u32;
    pub fn cbp_launch_begin(
        session: *mut cbp_session,
        argument0: *const c_char,
        paths: *const u8,
        paths_size: u64,
        ask: u32,
        launcher_fd: *mut i32,
        launch: *mut *mut cbp_launch_handle,
    ) -> u32;
    pub fn cbp_launch_finish(
        launch: *mut cbp_launch_handle,
        started: u32,
        slice_ms: u32,
        os_error: *mut u32,
    ) -> u32;
    pub fn cbp_launcher_path(buffer: *mut u8, size: u64, needed: *mut u64) -> u32;

    /// libc's own, with FD_CLOEXEC as the only flag that F_SETFD knows.
    pub fn fcntl(fd: c_int, command: c_int, argument: c_int) -> c_int;
}

pub const F_SETFD: c_int = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::ffi::CStr;
    use std::mem::{size_of, MaybeUninit};
    use std::ptr::addr_of;

    type Rows = HashMap<(String, String, String), (u32, u32)>;

    fn rows() -> Rows {
        let text = |pointer| unsafe { CStr::from_ptr(pointer) }.to_str().unwrap().to_string();
        let mut count = 0;
        let first = unsafe { cbp_abi_rows(&mut count) };
        let all = unsafe { std::slice::from_raw_parts(first, count as usize) };
        all.iter()
            .map(|row| ((text(row.kind), text(row.owner), text(row.name)), (row.offset, row.size)))
            .collect()
    }

    fn value<'a>(rows: &'a Rows, kind: &str, owner: &str, name: &str) -> Option<&'a (u32, u32)> {
        rows.get(&(kind.to_string(), owner.to_string(), name.to_string()))
    }

    macro_rules! check_structure {
        ($rows:expr, $name:literal, $structure:ty, $($field:ident)+) => {
            assert_eq!(value($rows, "struct", "", $name), Some(&(0, size_of::<$structure>() as u32)));
            let memory = MaybeUninit::<$structure>::uninit();
            let base = memory.as_ptr();
            $({
                let offset = unsafe { addr_of!((*base).$field) as usize } - base as usize;
                let name = stringify!($field).trim_start_matches("r#");
                let row = value($rows, "field", $name, name);
                assert_eq!(row.map(|row| row.0), Some(offset as u32), "{}.{}", $name, name);
            })+
        };
    }

    #[test]
    fn structures_are_the_librarys() {
        let rows = &rows();
        check_structure!(rows, "event", cbp_event, size r#type result_code desired_access flags process_id
            thread_id parent_process_id originator_process_id originator_thread_id source_process_id
            target_process_id original_desired_access user_id exit_status capabilities sequence time_ns
            start_time deadline_ns context process_name_offset process_name_size image_file_name_offset
            image_file_name_size arguments_offset arguments_size);
        check_structure!(rows, "callbacks", cbp_callbacks, size reserved context event error worker);
        check_structure!(rows, "abi_row", cbp_abi_row, kind owner name text offset size);
    }

    #[test]
    fn constants_are_the_librarys() {
        let rows = &rows();
        for (group, name, number) in [
            ("event", "PROC_EVT_PROCESS_CREATION", PROC_EVT_PROCESS_CREATION),
            ("event", "PROC_EVT_PROCESS_TERMINATION", PROC_EVT_PROCESS_TERMINATION),
            ("error", "ERROR_ACCESS_DENIED", ERROR_ACCESS_DENIED),
            ("error", "ERROR_UNHANDLED_EXCEPTION", ERROR_UNHANDLED_EXCEPTION),
        ] {
            assert_eq!(value(rows, "const", group, name).map(|row| row.0), Some(number), "{name}");
        }
    }
}
