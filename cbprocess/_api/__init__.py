"""The parts of CBProcess: its methods, properties and settings. Not to be imported by users."""
