"""Remove what has been kept long enough: by class, organisation and exam, in bounded steps, and never what is held."""
