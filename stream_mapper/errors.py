"""The one exception that means: the input, not the program, is at fault."""


class InputError(ValueError):
    """A file, a table, a configuration or an argument that cannot be used.

    The message says what was asked, what was found and what to do; the commands print it as one line.
    """
