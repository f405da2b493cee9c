// The C library's functions and structures that session.js uses, declared for koffi. Knows nothing of what they
// are for; layout.test.js compares the declarations with what the loaded library says of itself.
import koffi from 'koffi';

// Found as any shared library is, or where CBPROCESS_LIBRARY says.
const library = koffi.load(process.env.CBPROCESS_LIBRARY ?? 'libcbprocess.so.0');

export const constants = {
    PROC_EVT_PROCESS_CREATION: 0x01,
    PROC_EVT_PROCESS_TERMINATION: 0x02,
    EVENT_FLAG_HELD: 0x01,
    EVENT_FLAG_REFUSABLE: 0x04,
    ERROR_ACCESS_DENIED: 5,
    ERROR_UNHANDLED_EXCEPTION: 574,
};

koffi.opaque('cbp_session');
koffi.opaque('cbp_launch_handle');
koffi.proto('void cbp_event_callback(void *event)');
koffi.proto('void cbp_error_callback(uint64_t context, uint32_t code, const char *text)');

export const structures = {
    event: koffi.struct('cbp_event', {
        size: 'uint32_t',
        type: 'uint32_t',
        result_code: 'uint32_t',
        desired_access: 'uint32_t',
        flags: 'uint32_t',
        process_id: 'uint32_t',
        thread_id: 'uint32_t',
        parent_process_id: 'uint32_t',
        originator_process_id: 'uint32_t',
        originator_thread_id: 'uint32_t',
        source_process_id: 'uint32_t',
        target_process_id: 'uint32_t',
        original_desired_access: 'uint32_t',
        user_id: 'uint32_t',
        exit_status: 'uint32_t',
        capabilities: 'uint32_t',
        sequence: 'uint64_t',
        time_ns: 'uint64_t',
        start_time: 'uint64_t',
        deadline_ns: 'uint64_t',
        context: 'uint64_t',
        process_name_offset: 'uint32_t',
        process_name_size: 'uint32_t',
        image_file_name_offset: 'uint32_t',
        image_file_name_size: 'uint32_t',
        arguments_offset: 'uint32_t',
        arguments_size: 'uint32_t',
    }),
    callbacks: koffi.struct('cbp_callbacks', {
        size: 'uint32_t',
        reserved: 'uint32_t',
        context: 'uint64_t',
        event: 'cbp_event_callback *',
        error: 'cbp_error_callback *',
        worker: 'void *',
    }),
    abi_row: koffi.struct('cbp_abi_row', {
        kind: 'const char *',
        owner: 'const char *',
        name: 'const char *',
        text: 'const char *',
        offset: 'uint32_t',
        size: 'uint32_t',
    }),
};

export const cbp = Object.fromEntries(
    [
        'const char *cbp_error_message(uint32_t code)',
        'const char *cbp_error_detail()',
        'void *cbp_abi_rows(_Out_ uint32_t *count)',
        'uint32_t cbp_pattern_match(const void *pattern, uint64_t pattern_size, const void *name, ' +
            'uint64_t name_size, _Out_ uint32_t *matches)',
        'uint32_t cbp_session_create(const char *guid, _Out_ cbp_session **session)',
        'uint32_t cbp_session_destroy(cbp_session *session)',
        'uint32_t cbp_session_set_callbacks(cbp_session *session, const cbp_callbacks *callbacks)',
        'uint32_t cbp_session_set_config(cbp_session *session, const char *name, const char *value)',
        'uint32_t cbp_session_start(cbp_session *session, uint32_t timeout_ms)',
        'uint32_t cbp_session_stop(cbp_session *session, uint32_t slice_ms)',
        'uint32_t cbp_handler_enter(cbp_session *session, void *event)',
        'uint32_t cbp_handler_leave()',
        'uint32_t cbp_event_defer(_Out_ uint64_t *ticket)',
        'uint32_t cbp_event_complete(uint64_t ticket, uint32_t result_code, uint32_t desired_access)',
        'uint32_t cbp_launch_begin(cbp_session *session, const char *argument0, const void *paths, ' +
            'uint64_t paths_size, uint32_t ask, _Out_ int32_t *fd, _Out_ cbp_launch_handle **launch)',
        'uint32_t cbp_launch_finish(cbp_launch_handle *launch, uint32_t started, uint32_t slice_ms, ' +
            '_Out_ uint32_t *os_error)',
        'uint32_t cbp_launcher_path(_Out_ void *buffer, uint64_t size, _Out_ uint64_t *needed)',
    ].map((prototype) => {
        const callable = library.func(prototype);
        return [/(cbp_\w+)\(/.exec(prototype)[1], callable];
    }),
);
