"""The page of a job: taken from its working directory, kept there, served while it runs, and bundled with all that a bug report needs."""
