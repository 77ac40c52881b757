"""`Finding`: one thing that is wrong with a provider. The checks that make them are the neighbours."""

from attrs import frozen


@frozen
class Finding:
    """One thing that is wrong: which check found it, about what (a file, a row, a rule), and the problem in a sentence.

    >>> print(Finding("rows", "ERROR_X", "it comes back as another code"))
    rows: ERROR_X: it comes back as another code
    """

    check: str
    subject: str
    problem: str

    def __str__(self) -> str:
        return f"{self.check}: {self.subject}: {self.problem}"
