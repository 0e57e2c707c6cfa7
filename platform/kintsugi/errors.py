"""The errors a user can cause, and what each means to a job and to the service.

KintsugiError
|- ConfigError        a configuration, a flag or a run's identity; exit code 2
|- StorageError       an object that is missing, cut short or altered; exit code 1
|- Diverged           a run whose losses are no longer numbers; exit code 1
`- InputError         bytes that somebody sent or a file somebody packed
   |- UnsupportedFormat   not a format that is read here; HTTP 415
   |- TooLarge            more bytes than the limit; HTTP 413
   `- InvalidInput        right kind, wrong content; HTTP 422

Each message names the value, the limit and the remedy. Anything else that is
raised is a bug.
"""


class KintsugiError(Exception):
    """Base of every error whose cause lies outside this code."""


class ConfigError(KintsugiError):
    """A configuration cannot be used; the message names the key as the user wrote it."""


class StorageError(KintsugiError):
    """Something in storage is missing, incomplete or not what its manifest says.

    Attributes:
        may_pass: Whether it was tried again until the time was up: the place may be gone for
            all, and not for this name alone.
    """

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass

    # As of InputError.
    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_storage, (type(self), str(self), self.may_pass)


class Diverged(KintsugiError):
    """A training whose losses are no longer numbers: taken up again it ends so again."""


class InputError(KintsugiError):
    """Bytes that cannot be used.

    Attributes:
        code: Stable machine-readable reason such as ``image_undecodable``.
        hint: What the sender can do about it.
    """

    def __init__(self, message: str, *, code: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
        if hint:
            # Shown below the message in every trace: a caller of the package sees nothing else.
            self.add_note(hint)

    # Exceptions travel between Ray processes by `args` alone: keyword-only
    # arguments would be lost on the way.
    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), str(self), self.code, self.hint)


class UnsupportedFormat(InputError):
    """The bytes are of a format that is not read here."""


class TooLarge(InputError):
    """More bytes than the limit."""


class InvalidInput(InputError):
    """A readable kind of input whose content cannot be used."""


def _rebuild(kind: type[InputError], message: str, code: str, hint: str) -> InputError:
    return kind(message, code=code, hint=hint)


def _rebuild_storage(kind: type[StorageError], message: str, may_pass: bool) -> StorageError:
    return kind(message, may_pass=may_pass)
