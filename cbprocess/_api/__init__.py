"""What CBProcess is made of: its methods, properties and settings. Not to be imported by users."""
