"""The parts of cbprocess.records: origins, strict texts, start times, context, redaction, reading."""
