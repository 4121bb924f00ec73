"""The scripted exam: generated material, a real publisher, and a table of what was found."""
