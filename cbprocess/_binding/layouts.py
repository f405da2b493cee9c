"""The layouts of messages and of the native library's structures, field by field.

Made by tools/generate_layouts.py from the X-lists of the C headers; not to be edited.
"""

MESSAGE_HELLO = 1  # Core to driver, first: version and clock.
MESSAGE_REPLY = 2  # Driver to core: the result of the request with the same id.
MESSAGE_SESSION = 3  # Core to driver: opens a session or changes its settings.
MESSAGE_SESSION_CLOSE = 4  # Core to driver: ends a session.
MESSAGE_RULES = 5  # Core to driver: a session's rules, in place of those before.
MESSAGE_LAUNCH_FORGET = 6  # Core to driver: takes back the rule that a launch made.
MESSAGE_LAUNCH = 7  # Core to driver: a launcher will report on the descriptor passed along.
MESSAGE_LAUNCH_READY = 8  # Launcher to helper: may be traced now.
MESSAGE_LAUNCH_GO = 9  # Helper to launcher: execute the target.
MESSAGE_LAUNCH_RESULT = 10  # How a launch ended, to the helper and on to the core.
MESSAGE_LAUNCH_TARGET = 11  # Core to launcher: what to execute.
MESSAGE_EVENT = 12  # Driver to core: up to BATCH_MAX events of one task.
MESSAGE_PROCESS_QUERY = 13  # Core to driver: what holds for one process.
MESSAGE_LAUNCH_PROCESS = 20  # Core to debug helper: a program has been started for it to debug.
MESSAGE_KERNEL_SESSION = 21  # Core to kernel driver: what a session has of its own there.
MESSAGE_KERNEL_WORKER = 22  # Core to kernel driver: the calling thread is a worker, or no longer.
MESSAGE_KERNEL_RECEIVE = 23  # Core to kernel driver: waits for an event message.
MESSAGE_KERNEL_ANSWER = 24  # Core to kernel driver: answers the event message with the same id.
MESSAGE_KERNEL_DEADLINE = 25  # Core to kernel driver: asks for a deadline, or moves it.
MESSAGE_KERNEL_TOKEN = 26  # Core to kernel driver: asks for the originator's token.
MESSAGE_KERNEL_BEAT = 27  # Core to kernel driver: the dispatcher lives; asks for the counts.
MESSAGE_KERNEL_COUNTS = 28  # Kernel driver to core: what a session has counted.
MESSAGE_RECORDING = 32  # First in a recording: by whom, where and when it was made.
MESSAGE_RECORDING_END = 33  # Last in a recording: it is complete.
MESSAGE_VERDICT = 34  # What became of the event message with the same id.
MESSAGE_SCRIPT_STEP = 35  # In a script: something other than an event happens.

VERDICT_ANSWERED = 0  # A handler's answer was applied.
VERDICT_TIMED_OUT = 1  # The deadline passed first; the answer changed nothing.
VERDICT_LET_GO = 2  # The filter stopped, or a side of it died, first.
VERDICT_UNASKED = 3  # It did not wait; a rule may have decided it.
VERDICT_SILENT = 4  # No event fired: no rule or setting asked for one.
VERDICT_FAILED = 5  # In a recording: an execution that was allowed has failed in the system.

SCRIPT_SLOW_ANSWER = 1  # The next event's answers come value ms later than they are given.
SCRIPT_EXPIRED = 2  # The next event's deadline passes before a handler sees it.
SCRIPT_DUPLICATE = 3  # The next event's message arrives value times more.
SCRIPT_FAILED_AFTER = 4  # The next event's operation, if it is allowed, then fails.
SCRIPT_MALFORMED = 5  # A malformed message arrives.
SCRIPT_LOSS = 6  # value events are lost.
SCRIPT_TIME = 7  # value ms pass for all deadlines.
SCRIPT_BARRIER = 8  # What comes next waits until everything before has been answered.
SCRIPT_CONTROLLER_DEATH = 9  # For the driver, the controller has died.
SCRIPT_DRIVER_DEATH = 10  # The driver dies.

RECORDING_VERSION = 1
EVENT_SIZE_INLINE = 16384

# Each structure has its fields here, with their types as module struct names these. The header of
# a message is left out, and so are an event message's items, which follow its other fields.
FIELDS: dict[str, list[tuple[str, str]]] = {
    structure: [(field[:-2], field[-1]) for field in fields.split()]
    for structure, fields in {
        "message_header": """
            size:I type:I id:Q deadline_ns:Q""",
        "event_item": """
            type:I flags:I result_code:I desired_access:I""",
        "event_message": """
            sequence:Q time_ns:Q start_time:Q session_id:I item_count:I process_id:I thread_id:I
            parent_process_id:I originator_process_id:I originator_thread_id:I source_process_id:I
            target_process_id:I original_desired_access:I user_id:I exit_status:I capabilities:I
            reserved:I process_name_offset:I process_name_size:I image_file_name_offset:I
            image_file_name_size:I arguments_offset:I arguments_size:I""",
        "recording": """
            version:I process_id:I clock_ns:Q time_ns:Q platform_offset:I platform_size:I driver_offset:I
            driver_size:I""",
        "recording_end": """
            time_ns:Q message_count:Q verdict_count:Q lost:Q""",
        "verdict": """
            sequence:Q time_ns:Q state:I item_count:I deferred_items:I decided_items:I result_code0:I
            result_code1:I result_code2:I result_code3:I desired_access0:I desired_access1:I
            desired_access2:I desired_access3:I""",
        "script_step": """
            kind:I value:I""",
        "event": """
            size:I type:I result_code:I desired_access:I flags:I process_id:I thread_id:I
            parent_process_id:I originator_process_id:I originator_thread_id:I source_process_id:I
            target_process_id:I original_desired_access:I user_id:I exit_status:I capabilities:I
            sequence:Q time_ns:Q start_time:Q deadline_ns:Q context:Q process_name_offset:I
            process_name_size:I image_file_name_offset:I image_file_name_size:I arguments_offset:I
            arguments_size:I""",
        "statistics": """
            delivered:Q lost:Q timed_out:Q refused:Q decided_by_rule:Q late:Q failed_after:Q malformed:Q
            workers:Q supervised:Q deferred:Q queued:Q guessed:Q""",
        "process_record": """
            process_id:I parent_process_id:I start_time:Q thread_count:I process_name_size:I
            process_name_offset:Q arguments_offset:Q arguments_size:I flags:I user_id:I reserved:I""",
    }.items()
}
