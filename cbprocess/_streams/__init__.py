"""Events as streams: what monitor() gives. Not to be imported by users."""
